"""What the pages say, taken apart: their fenced blocks, the commands in them and in the text, and whether these exist.

check_command("probe evaluate RUN --data sample --combine soup")     # an unknown command, option or choice is an error
"""

import re
import shlex
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main

from probe.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAIN = typer.main.get_command(app)


def fences(text: str) -> list[tuple[str, str]]:
    """The language and content of each fenced block of a Markdown text."""
    return re.findall(r"^```(\S*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def lines(block: str) -> list[str]:
    """The lines of a shell block, continued ones joined, without comments."""
    joined = block.replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if line.strip() and not line.lstrip().startswith("#")]


def spans(text: str) -> list[str]:
    """What stands between single backticks, line breaks as spaces."""
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text))]


def whole(piece: Any) -> dict[str, Any]:
    """A recipe of which this is the rows, some keys, or some keys of a row."""
    if isinstance(piece, list):
        piece = {"rows": piece}
    of_row = {key: piece[key] for key in ("head", "loss", "training", "distillation") if key in piece}
    defaults = {"backbone": "descriptor", "head": {"kind": "linear"}, "loss": {"kind": "normalised-softmax"}}
    blank = {"title": "A table", "data": "sample"} | ({} if "based_on" in piece else {"defaults": defaults})
    return blank | {"rows": [{"name": "A row"} | of_row]} | {key: piece[key] for key in piece.keys() - of_row.keys()}


def check_command(line: str) -> None:
    """Raises AssertionError for a `probe` command that there is not, or that has no such option or choice."""
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "probe", line
    command: Any = MAIN
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{line}: there is no command '{words[0]}'"
        command = command.commands[words.pop(0)]
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for position, word in enumerate(words):
        if not word.startswith("--") or word in ("--help", "--debug", "--quiet"):
            continue
        name, _, value = word.partition("=")
        assert name in options, f"{line}: there is no option {name}"
        choices = _choices(command.callback, options[name].name)
        given = value or next(iter(words[position + 1 :]), "")
        placeholder = not given or given.isupper()
        assert not choices or placeholder or given in choices, f"{line}: {name} takes {', '.join(choices)}"


def _choices(callback: Any, parameter: str) -> list[str]:
    """What an option takes, where that is one of a few words."""
    annotations, choices = [get_type_hints(callback).get(parameter)], []  # typer adds options of its own
    while annotations:
        annotation = annotations.pop()
        annotations += get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            choices += [member.value for member in annotation]
    return choices
