"""What is printed: answers on standard output, everything else on standard error, and nothing that a text commands.

Names, ids and reasons come from files of anybody's: what looks like markup or an emoji is printed as it is, and a
control character as its number.

    print_table(table, printer())
"""

import codecs
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

WIDE = 500  # a table takes what it needs of it
BANDS = 3
NAME = 14  # columns
FORMULA = ("=", "+", "-", "@", "\t", "\r")
ASCII = {"≈": "~", "±": "+-", "×": "x", "–": "-", "…": "...", "→": "->", "·": "-", "█": "#"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and line feed
WORD = re.compile(r"\S*`[^`]*`\S*|\S+")


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


def wrapped(text: str, width: int) -> str:
    """Broken between words into lines of at most `width` columns, those that follow indented as the first.

    A longer word, what stands in backticks, and a line that is a command stay whole, so that they can be copied.
    """
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if cell_len(line) <= width or line.lstrip().startswith("probe "):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines = [""]
    for word in WORD.findall(line):
        longer = f"{lines[-1]} {word}" if lines[-1] else f"{indent}{word}"
        if lines[-1] and cell_len(longer) > width:
            lines.append(f"{indent}{word}")
        else:
            lines[-1] = longer
    return "\n".join(lines)


def print_text(text: str, console: Console, style: StyleType = "") -> None:
    """Wrapped by words on a terminal, as it is elsewhere."""
    console.print(wrapped(text, console.width) if console.is_terminal else text, style=style, soft_wrap=True)


def print_field(name: str, value: str, console: Console) -> None:
    """A line of all that is known of one thing, its value in a column of its own."""
    lines = wrapped(value, console.width - NAME) if console.is_terminal else value
    text = Text(f"{name:<{NAME}}", style="bold") + Text(lines.replace("\n", "\n" + " " * NAME), style="not bold")
    console.print(text, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """Nothing of it is cut: where it is too wide, its columns go on in a second and a third table below it; where
    these do not hold them either, each row's cells stand below its first one."""
    if is_whole(table, console):
        console.print(table)
        return
    if table.title:
        print_text(str(table.title), console, "italic")
    if bands := _bands(table, console):
        console.print(*bands, sep="\n")
    else:
        for row, cells in zip(table.rows, _cells(table), strict=True):
            _print_record(table, cells, row.style or "", console)
    if table.caption:
        print_text(str(table.caption), console, "dim")


def _bands(table: Table, console: Console) -> list[Table]:
    """The table as up to three that fit, each with the first column; none where it takes more."""
    bands: list[list[int]] = [[]]
    for column in range(1, len(table.columns)):
        if is_whole(_part(table, [0, *bands[-1], column]), console):
            bands[-1].append(column)
        elif bands[-1] and len(bands) < BANDS and is_whole(_part(table, [0, column]), console):
            bands.append([column])
        else:
            return []
    return [_part(table, [0, *columns]) for columns in bands]


def _part(table: Table, columns: list[int]) -> Table:
    """Some of its columns."""
    part = Table(box=table.box, padding=table.padding, show_edge=table.show_edge)
    for column in (table.columns[number] for number in columns):
        part.add_column(column.header, justify=column.justify, overflow=column.overflow, no_wrap=column.no_wrap)
    for row, cells in zip(table.rows, _cells(table), strict=True):
        part.add_row(*(cells[number] for number in columns), style=row.style, end_section=row.end_section)
    return part


def is_whole(table: Table, console: Console) -> bool:
    """Whether the console is wide enough for every word of the table."""
    titles = [_text(title) for title in (table.title, table.caption) if title]
    texts = (text.plain for row in [titles, _headers(table), *_cells(table)] for text in row)
    words = Counter(" ".join(texts).split())
    lines = console.render_lines(table, pad=False)
    shown = Counter(" ".join("".join(segment.text for segment in line) for line in lines).split())
    return not words - shown


def _headers(table: Table) -> list[Text]:
    return [_text(column.header) for column in table.columns]


def _cells(table: Table) -> list[list[Text]]:
    """By row."""
    return [list(map(_text, cells)) for cells in zip(*(column.cells for column in table.columns), strict=True)]


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _print_record(table: Table, cells: list[Text], style: StyleType, console: Console) -> None:
    """The first cell, and the others below it, each behind its heading, or below that where this is too narrow."""
    print_text(cells[0].plain, console, f"bold {style}".strip())
    named = [
        (" ".join(header.plain.split()), Text(" / ").join(cell.split("\n")))
        for header, cell in zip(_headers(table)[1:], cells[1:], strict=True)
        if cell.plain.strip()
    ]
    fields = Table.grid(padding=(0, 2, 0, 0))
    fields.add_column(no_wrap=True)
    fields.add_column(overflow="fold")
    for name, cell in named:
        fields.add_row(f"  {name}", cell, style=style)
    if is_whole(fields, console):
        if named:
            console.print(fields)
        return
    for name, cell in named:
        print_text(f"  {name}", console, style)
        print_text(f"    {cell.plain}", console, style)
