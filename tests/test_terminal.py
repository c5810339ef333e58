"""What is printed commands neither the terminal nor a spreadsheet."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import probe.progress
from probe.progress import say
from probe.terminal import CONTROL, PlainConsole, literal, print_table, visible, wrapped


def printed(*things: object, **options: object) -> str:
    stream = io.StringIO()
    PlainConsole(file=stream, width=200).print(*things, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_a_name_that_looks_like_markup_or_an_emoji_is_printed_as_it_is() -> None:
    assert printed("/data/:car:/[red]x.jpg") == "/data/:car:/[red]x.jpg\n"
    table = Table()
    table.add_column("[bold]name")
    table.add_row("[red]:smile:")
    assert "[bold]name" in printed(table)
    assert "[red]:smile:" in printed(table)


def test_control_characters_are_printed_as_their_numbers() -> None:
    evil = "a\x1b]0;title\x07b\x9bc\rd\x00"
    expected = r"a\x1b]0;title\x07b\x9bc\x0dd\x00"
    assert visible(evil) == expected
    assert printed(evil, soft_wrap=True).startswith(r"a\x1b]0;title")
    assert not CONTROL.search(printed(evil))
    table = Table()
    table.add_column()
    table.add_row(Text(evil))
    assert "\x1b" not in printed(table)
    assert visible("tab\tand\nline") == "tab\tand\nline"


def test_what_is_said_is_plain_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(probe.progress, "console", PlainConsole(file=stream))
    say("images/\x1b[31m:car:.jpg is gone")
    assert stream.getvalue() == "images/\\x1b[31m:car:.jpg is gone\n"


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", "≈ 1 ± 2 … 饮"), ("latin-1", "~ 1 ± 2 ... ?"), ("ascii", "~ 1 +- 2 ... ?")]
)
def test_what_the_output_cannot_encode_is_replaced(encoding: str, expected: str) -> None:
    code = (
        "from probe.progress import say; from probe.terminal import *; replace_what_cannot_be_encoded();"
        "printer().print('≈ 1 ± 2 … 饮'); say('≈ 1 ± 2 … 饮')"
    )
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, encoding=encoding)
    assert (done.stdout.strip(), done.stderr.strip()) == (expected, expected)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_text(text: str, tmp_path: Path) -> None:
    assert literal(text) == f"'{text}"
    assert literal(f"a{text}") == f"a{text}"


def test_text_is_wrapped_between_words_and_what_is_to_be_copied_stays_whole() -> None:
    assert wrapped("  one two three", 10) == "  one two\n  three"
    assert wrapped("say `probe table NAME` now", 12) == "say\n`probe table NAME`\nnow"
    command = "  probe extract sample --backbone timm:resnet50"
    assert wrapped(f"run this:\n{command}", 5) == f"run\nthis:\n{command}"
    assert wrapped("in /a/path/that/is/longer/than/that", 12) == "in\n/a/path/that/is/longer/than/that"
    assert wrapped("饮料 饮料 饮料", 9) == "饮料 饮料\n饮料"


@pytest.mark.parametrize("width", [12, 16, 20, 30, 60])
def test_no_word_of_a_table_is_lost_whatever_the_width(width: int) -> None:
    table = Table(title="of four", caption="all in percent")
    for name in ("row", "coins", "garage", "pictures"):
        table.add_column(name, no_wrap=True)
    for row in range(3):
        table.add_row(f"name-{row}", *(f"{100 + row + column}.0" for column in range(3)))
    stream = io.StringIO()
    print_table(table, PlainConsole(file=stream, force_terminal=True, width=width, color_system=None))
    words = stream.getvalue().split()
    for text in ("coins", "pictures", "name-2", "100.0", "102.0", "104.0", "four", "percent"):
        assert text in words, stream.getvalue()
    assert max(map(len, stream.getvalue().splitlines())) <= width
