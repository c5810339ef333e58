"""In a pseudo-terminal of any width nothing is cut without a word: the screens in widths/ were looked at."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

SCREENS = Path(__file__).parent / "widths"
WIDTHS = (40, 80, 120, 200)

# The program sets the width of its own terminal, then prints what a command prints.
PROGRAM = """
import fcntl, struct, sys, termios
from dataclasses import replace
from types import SimpleNamespace
import probe.progress
from probe.progress import _Pace, _View
from probe.report.render.terminal import show
from probe.report.significance import Significance
from probe.report.table import Cell
from probe.terminal import printer
from tests.report.test_render import row_of, table_of

domains = ["coins", "garage", "microscopy", "photographs", "sky", "textures", "garments", "landmarks"]
def row(name, score, std):
    cells = {domain: {"mMP@5": Cell(score, None), "R@1": Cell(100.0, None)} for domain in domains}
    return replace(row_of(name, score), cells={"Mean": {"mMP@5": Cell(score, std), "R@1": Cell(100.0, std)}, **cells})
rows = [row("Full dimension", 62.6, None), row("Sub-Center ArcFace (K = 3)", 68.7, 0.3), row("ArcFace", 68.5, 0.2)]
table = replace(
    table_of(rows),
    domains=domains,
    significance={("Mean", "mMP@5"): Significance({}, {"ArcFace"}, [])},
    notes=["ArcFace: no epoch is better on validation than the head before training: seed 0"],
    commands=["probe extract sample --backbone siglip-so400m-14-384 --data-root /data/retrieval"],
)
for width in map(int, sys.argv[1:]):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    console = printer()
    assert (console.is_terminal, console.width) == (True, width)
    print(f"@{width}", flush=True)
    show(table, console)
    now = 0.0
    probe.progress.time = SimpleNamespace(monotonic=lambda: now)
    pace = _Pace(328_400, "images")
    for now in (10.0, 20.0):
        pace.add(12_800)
    console.print(_View("fit", pace, "siglip-so400m-14-384_linear_arcface_seed0 epoch 3/10, loss 1.234, val R@1 61.2"))
"""


def screens(*widths: int) -> dict[int, str]:
    """What the program writes to a terminal, by its width."""
    main, terminal = pty.openpty()
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", PROGRAM, *map(str, widths)]
    variables |= {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, env=variables) as program:
        os.close(terminal)
        written = b""
        while chunk := _read(main):
            written += chunk
        assert program.stderr is not None
        failure = program.stderr.read().decode()
    assert program.returncode == 0, failure
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode()).replace("\r\n", "\n")
    parts = re.split(r"^@(\d+)\n", text, flags=re.MULTILINE)[1:]
    return {int(width): screen for width, screen in zip(parts[::2], parts[1::2], strict=True)}


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the program has ended
        return b""


@pytest.mark.slow
def test_a_screen_of_40_80_120_and_200_columns_reads_as_the_ones_that_were_looked_at() -> None:
    found = screens(*WIDTHS)
    for width in WIDTHS:
        expected = (SCREENS / f"{width}.txt").read_text(encoding="utf-8")
        assert "\n".join(line.rstrip() for line in found[width].splitlines()) + "\n" == expected
