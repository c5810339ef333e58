"""The overview of many tables, a line each: how many rows are measured, the time of the rest, what is missing first.

show_overview(tables, planner.machine, gpus=1, console=printer())
"""

import math

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from probe.planning import Machine, rounded, side_by_side
from probe.report.table import Table, TableRow
from probe.terminal import print_table, print_text

WIDTH = 160  # where it is not a terminal
TITLE = 44
LEAST = 20  # columns for what is missing
BETWEEN = 2  # columns


def is_begun(table: Table) -> bool:
    """Whether a run is finished, a count made or a claim checked; sizes of models and settings are known without."""
    static_cells = (
        cell for row in table.rows if not row.planned for cells in row.cells.values() for cell in cells.values()
    )
    return any(row.done for row in table.rows) or any(not math.isnan(cell.mean) for cell in static_cells)


def show_overview(tables: list[Table], machine: Machine, gpus: int, console: Console) -> None:
    """One line a table, with … where a title or a reason is cut; below each other on a terminal that is narrower than
    that. Times are those of `gpus` machines, a command on each."""
    lines = [(table.recipe.name, rows_text(table), time_text(table, gpus)) for table in tables]
    time = f"time, {f'{gpus} x ' if gpus > 1 else ''}{machine.name}"
    width = console.width if console.is_terminal else WIDTH
    facts_width = sum(max(map(len, texts)) for texts in zip(*lines, ("table", "rows", time), strict=True))
    spare = width - facts_width - BETWEEN * 5
    title = min(TITLE, spare // 2) if spare >= TITLE else 0
    is_line = spare >= LEAST
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("table", "rows", time):
        grid.add_column(name, no_wrap=True, justify="right" if name == "rows" else "left")
    if title:
        grid.add_column("title", no_wrap=True, overflow="ellipsis", max_width=title)
    grid.add_column("missing first", no_wrap=True, overflow="ellipsis", max_width=spare - title if is_line else None)
    for table, facts in zip(tables, lines, strict=True):
        titles = [Text(table.recipe.title)] if title else []
        grid.add_row(*map(Text, facts), *titles, Text(first_missing(table)), style="" if is_begun(table) else "dim")
    if is_line:
        console.print(grid)
        print_text("…: cut here; `probe table NAME` has it whole", console, "dim")
    else:
        print_table(grid, console)
    print_text("rows: measured / measurable", console, "dim")
    print_text(
        f"time: estimate for all that is missing, by finished work on {machine.name} where there is any; shared work "
        "counts in every table; ?: unknown",
        console,
        "dim",
    )
    if any(table.commands for table in tables):
        print_text("`probe table NAME` prints one table in full, with the commands that complete it", console, "dim")


def _measured(row: TableRow) -> bool:
    return row.done > 0 if row.planned else any(row.cells.values()) and not row.lacks


def rows_text(table: Table) -> str:
    """`3/5`: complete rows of those that can be measured; empty where all are printed only."""
    rows = [row for row in table.rows if row.planned or row.relation.compared != "printed-only"]
    whole = [row for row in rows if _measured(row) and row.done == row.planned]
    return f"{len(whole)}/{len(rows)}" if rows else ""


def time_text(table: Table, gpus: int = 1) -> str:
    """The estimate for all commands together, divided by as many devices, but no less than the longest."""
    known = [estimate for estimate in table.times.values() if estimate]
    if not known:
        return "?" if table.times else ""
    left_out = len(known) < len(table.times) or any(estimate.unknown for estimate in known)
    seconds = side_by_side([estimate.seconds for estimate in known], gpus)
    return rounded(seconds) + (" + ?" if left_out else "")


def first_missing(table: Table) -> str:
    """The first of what is stale or missing, or a text that nothing is."""
    runs = sum(row.planned - row.done for row in table.rows)
    to_fit = [f"{runs} seed(s) to fit"] if runs and table.commands else []
    found = [*table.stale, *table.missing, *to_fit, *table.commands]
    if found:
        return found[0]
    return "complete" if rows_text(table) else "printed only: nothing here can be measured"
