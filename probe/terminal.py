"""What is printed: answers on standard output, everything else on standard error, and nothing that a text commands.

Names, ids and reasons come from files of anybody's: what looks like markup or an emoji is printed as it is, and a
control character as its number.

    printer().print(table)
"""

import codecs
import io
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

WIDE = 500  # a table takes what it needs of it
FORMULA = ("=", "+", "-", "@", "\t", "\r")
ASCII = {"≈": "~", "±": "+-", "×": "x", "–": "-", "…": "...", "→": "->", "·": "-", "█": "#"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and line feed


def visible(text: str) -> str:
    """`\\x1b` in place of an escape, and likewise."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def replace_what_cannot_be_encoded() -> None:
    """On standard output and standard error, in place of an exception where these are not UTF-8."""

    def replacement(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        return "".join(ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end

    codecs.register_error("probe", replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="probe")


def literal(text: str) -> str:
    """As a cell of CSV: with an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


class PlainConsole(Console):
    """A console that only the program commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def printer() -> Console:
    """Standard output; as wide as the table where it is not a terminal."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=WIDE)
