"""How every table stands, a line each: how much of it is measured, and what is missing first.

show_overview(tables, printer())
"""

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from probe.tables.estimate import rounded
from probe.tables.table import Table, TableRow


def is_begun(table: Table) -> bool:
    """Whether anything is measured; the size of a model is known without that."""
    return any(_measured(row) for row in table.rows)


def show_overview(tables: list[Table], console: Console) -> None:
    """One line a table; what does not fit the console is cut."""
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), expand=console.is_terminal)
    grid.add_column("table", no_wrap=True)
    grid.add_column("title", no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column("rows", justify="right", no_wrap=True)
    grid.add_column("time", no_wrap=True)
    grid.add_column("missing first", no_wrap=True, overflow="ellipsis", ratio=1)
    for table in tables:
        style = "dim" if not is_begun(table) else ""
        names = Text(table.recipe.name), Text(table.recipe.title)
        grid.add_row(*names, rows_text(table), time_text(table), Text(first_missing(table)), style=style)
    console.print(grid)
    console.print("rows: measured of those that can be; time: of what is missing, estimated", style="dim")
    if any(table.needs for table in tables):
        console.print("`probe table NAME` shows a table whole, with the commands that complete it", style="dim")


def _measured(row: TableRow) -> bool:
    return row.done > 0 if row.planned else any(row.cells.values())


def rows_text(table: Table) -> str:
    """Whole rows; none where all are printed only."""
    rows = [row for row in table.rows if row.planned or row.comparison.compared != "printed-only"]
    whole = [row for row in rows if _measured(row) and row.done == row.planned]
    return f"{len(whole)}/{len(rows)}" if rows else ""


def time_text(table: Table) -> str:
    """Of all commands together, estimated."""
    known = [estimate for estimate in table.times.values() if estimate]
    if not known:
        return "unknown" if table.times else ""
    left_out = len(known) < len(table.times) or any(estimate.unknown for estimate in known)
    return rounded(sum(estimate.seconds for estimate in known)) + (" + unknown" if left_out else "")


def first_missing(table: Table) -> str:
    """What is stale or missing first, or that nothing is."""
    runs = sum(row.planned - row.done for row in table.rows)
    to_fit = [f"{runs} seed(s) to fit"] if runs and table.needs else []
    found = [*table.stale, *table.missing, *to_fit, *table.needs]
    if found:
        return found[0]
    return "complete" if rows_text(table) else "printed only: nothing here can be measured"
