"""A table in the terminal, with why it is not complete and the commands that complete it.

show(table, printer())
"""

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from probe.tables.agreement import agreement_line
from probe.tables.render.entries import (
    DIFFERENCE,
    NOTHING,
    TIED,
    Entry,
    difference_text,
    dim_text,
    entry_of,
    has_difference,
    has_runs,
    legend,
    measured_text,
    printed_name,
    printed_text,
    seeds_text,
    time_text,
)
from probe.tables.table import Table, TableRow
from probe.terminal import WIDE


def show(table: Table, console: Console) -> None:
    """Prints the table and what there is to say of it, each command on one line to copy.

    Where it is too wide for the console, a cell's metrics stand below each other.
    """
    grid = _grid(table, " / ")
    if Measurement.get(console, console.options.update(max_width=WIDE), grid).maximum > console.width:
        grid = _grid(table, "\n")
        grid.box, grid.show_edge, grid.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    console.print(grid)
    agreement = agreement_line(table)
    said = [(agreement, ""), *((line, "dim") for line in table.reasons)]
    said += [(line, "yellow") for line in (*table.stale, *table.missing)]
    for line, style in [*said, *((line, "dim") for line in table.notes)]:
        if line:
            console.print(line, style=style, markup=False, soft_wrap=True)
    if table.needs:
        console.print("to complete this table:")
    for command in table.needs:
        console.print(f"  {command}", style="cyan", markup=False, soft_wrap=True)
        if time := time_text(table, command):
            console.print(f"    {time}", style="dim", markup=False, soft_wrap=True)


def _grid(table: Table, between: str) -> RichTable:
    """The best mean in bold; what is printed, and the difference, below the row that they belong to. `between` the
    metrics of a cell."""
    title, caption, runs = Text(table.recipe.title), Text(legend(table)), has_runs(table)
    grid = RichTable(title=title, caption=caption, title_justify="left", caption_justify="left")
    grid.add_column("row", min_width=20, overflow="fold")
    for name in ("dim", "seeds") if runs else ():
        grid.add_column(name, justify="right")
    for column in table.columns:
        grid.add_column(Text(column.replace(", ", "\n")), justify="right", no_wrap=column in table.means)
    for row in table.rows:
        facts = [dim_text(row), seeds_text(row)] if runs else []
        grid.add_row(Text(row.name), *facts, *(_measured(table, row, column, between) for column in table.columns))
        blank = [""] * len(facts)
        if row.printed:
            printed = [_printed(table, row, column, between) for column in table.columns]
            grid.add_row(f"  {printed_name(row)}", *blank, *printed, style="dim")
        if has_difference(table, row):
            differences = [_differences(table, row, column, between) for column in table.columns]
            grid.add_row(f"  {DIFFERENCE}", *blank, *differences, style="dim")
    return grid


def _entries(table: Table, row: TableRow, column: str) -> list[Entry]:
    return [entry_of(table, row, column, metric) for metric in table.metrics(column)]


def _measured(table: Table, row: TableRow, column: str, between: str) -> Text:
    parts = []
    for entry in _entries(table, row, column):
        text = measured_text(entry, std=column in table.means)
        mark = f" {TIED}" if entry.standing == "tied" else ""
        parts.append(Text(text + mark, style="bold" if entry.standing == "best" else ""))
    return Text(between).join(parts) if row.cells else Text(NOTHING)


def _printed(table: Table, row: TableRow, column: str, between: str) -> str:
    found = _entries(table, row, column)
    texts = [printed_text(entry, std=column in table.means) for entry in found]
    return between.join(texts) if any(entry.printed for entry in found) else ""


def _differences(table: Table, row: TableRow, column: str, between: str) -> str:
    found = _entries(table, row, column)
    texts = [difference_text(entry) for entry in found]
    return between.join(texts) if any(entry.difference is not None for entry in found) else ""
