"""A table in the terminal, with the reasons for what is missing and the commands that complete it.

show(table, printer())
"""

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from probe.recipes import TEXTS
from probe.report.agreement import agreement_line
from probe.report.render.entries import NOTHING, Line, entry_of, headed, legend, lines, time_text
from probe.report.render.standing import COLOURS, Standing
from probe.report.table import Table, TableRow
from probe.terminal import WIDE, print_table, print_text


def show(table: Table, console: Console) -> None:
    """Prints the table with its notes, and each command on one line to copy.

    Where it is too wide for the console, a cell's metrics stand below each other.
    """
    grid = _grid(table, " / ")
    if Measurement.get(console, console.options.update(max_width=WIDE), grid).maximum > console.width:
        grid = _grid(table, "\n")
        grid.box, grid.show_edge, grid.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    print_table(grid, console)
    agreement = agreement_line(table)
    styled = [(agreement, ""), *((line, "dim") for line in table.reasons)]
    styled += [(line, "yellow") for line in (*table.stale, *table.missing)]
    for line, style in [*styled, *((line, "dim") for line in table.notes)]:
        if line:
            print_text(line, console, style)
    if table.commands:
        console.print("to complete this table:")
    for command in table.commands:
        console.print(f"  {command}", style="cyan", soft_wrap=True)
        if time := time_text(table, command):
            print_text(f"    {time}", console, "dim")


def _grid(table: Table, between: str) -> RichTable:
    """Printed values and differences below their row. `between`: the metrics of a cell."""
    title, caption = Text(table.recipe.title), Text(legend(table))
    grid = RichTable(title=title, caption=caption, title_justify="left", caption_justify="left")
    grid.add_column("row", min_width=20, overflow="fold")
    for name in ("dim", "seeds") if table.has_runs else ():
        grid.add_column(name, justify="right")
    for column in table.columns:
        justify = "left" if column in TEXTS else "right"
        grid.add_column(Text(column.replace(", ", "\n")), justify=justify, no_wrap=column in table.means)
    for heading, row in headed(table):
        if heading:
            grid.add_section()
            grid.add_row(Text(heading, style="italic"))
        for line in lines(table, row):
            measured = line.kind == "measured"
            name = Text(line.name if measured else f"  {line.name}")
            cells = (_cell(line, table, row, column, between) for column in table.columns)
            grid.add_row(name, *line.facts, *cells, style="" if measured else "dim")
    return grid


def _cell(line: Line, table: Table, row: TableRow, column: str, between: str) -> Text:
    found = [entry_of(table, row, column, metric) for metric in table.metrics(column)]
    if line.kind == "measured" and not row.cells:
        return Text(NOTHING)
    if line.kind != "measured" and not any(map(line.has, found)):
        return Text()
    parts = []
    for entry in found:
        mark = line.symbols(entry).replace(" ", "")  # right behind its metric, since others may follow
        text = line.text(entry, std=column in table.means) + mark
        parts.append(Text(text, style=_style(line.standing(entry))))
    return Text(between).join(parts)


def _style(standing: tuple[Standing, ...]) -> str:
    """A printed value that stands out is not dim as its line is."""
    styles = [COLOURS[each] for each in standing if each in COLOURS] + ["bold"] * ("best" in standing)
    return " ".join(["not dim", *styles]) if styles else ""
