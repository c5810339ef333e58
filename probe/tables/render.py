"""A table as text: for the terminal, as Markdown and as CSV. Every measured value says how many seeds made it.

show(table, printer())
write_files(table, Path("out/tables"))       # quickstart.md, quickstart.csv
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from probe.tables.reference import Printed
from probe.tables.table import Cell, Table, TableRow
from probe.terminal import WIDE

TIED = "≈"
MARKS = f"Bold: the best mean; {TIED}: not told from it by a paired permutation test over queries (Holm, p >= 0.05)."


def show(table: Table, console: Console) -> None:
    """Prints the table, why it is not complete, and the commands that complete it, each on one line to copy.

    Where it is too wide for the console, a cell's metrics stand below each other.
    """
    grid = _grid(table, " / ")
    if Measurement.get(console, console.options.update(max_width=WIDE), grid).maximum > console.width:
        grid = _grid(table, "\n")
        grid.box, grid.show_edge, grid.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    console.print(grid)
    for line in table.reasons:
        console.print(line, style="dim", markup=False, soft_wrap=True)
    for line in table.missing:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    for note in table.notes:
        console.print(note, style="dim", markup=False, soft_wrap=True)
    if table.needs:
        console.print("to complete this table:")
    for command in table.needs:
        console.print(f"  {command}", style="cyan", markup=False, soft_wrap=True)


def _grid(table: Table, between: str) -> RichTable:
    """The best mean in bold, printed values below the row that they belong to. `between` the metrics of a cell."""
    title, legend = Text(table.recipe.title), Text(_legend(table))
    grid = RichTable(title=title, caption=legend, title_justify="left", caption_justify="left")
    grid.add_column("row", min_width=20, overflow="fold")
    grid.add_column("dim", justify="right")
    grid.add_column("seeds", justify="right")
    for column in table.columns:
        grid.add_column(Text(column.replace(", ", "\n")), justify="right", no_wrap=column in table.means)
    for row in table.rows:
        measured = [_measured(table, row, column, between) for column in table.columns]
        grid.add_row(Text(row.name), str(row.dim or ""), _seeds(row), *measured)
        if row.printed:
            printed = [_printed(table, row, column, between) for column in table.columns]
            grid.add_row(f"  {_printed_name(row)}", "", "", *printed, style="dim")
    return grid


def markdown(table: Table) -> str:
    """The table with a column for each domain and metric, and what is missing."""
    metrics = table.recipe.show.metrics
    header = [
        "row",
        "dim",
        "seeds",
        *(f"{column} {metric}" for column in table.columns for metric in metrics),
    ]
    lines = [f"# {table.recipe.title}", "", *([table.recipe.about.strip(), ""] if table.recipe.about else [])]
    lines += [_line(header), _line(["---", *("---:" for _ in header[1:])])]
    for row in table.rows:
        cells = [_marked(table, row, column, metric) for column in table.columns for metric in metrics]
        lines.append(_line([row.name, str(row.dim or ""), _seeds(row), *cells]))
        if row.printed:
            printed = [row.printed.get(column, {}).get(metric) for column in table.columns for metric in metrics]
            lines.append(
                _line([_printed_name(row), "", "", *("" if cell is None else _text(cell) for cell in printed)])
            )
    lines += ["", _legend(table)]
    lines += [""] * bool(table.reasons) + [f"- {line}" for line in table.reasons]
    lines += [""] * bool(table.missing or table.notes) + [f"- {line}" for line in [*table.missing, *table.notes]]
    if table.needs:
        lines += ["", "To complete this table:", "", "```", *table.needs, "```"]
    return "\n".join(lines) + "\n"


def long_csv(table: Table) -> str:
    """One line a value, in percent: row,column,metric,measured,std,low,high,seeds,printed,printed_std,compared.

    low and high: the 95 % bootstrap interval over queries.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["row", "column", "metric", "measured", "std", "low", "high", "seeds", "printed", "printed_std", "compared"]
    )
    for row, column, metric in _places(table):
        cell = _cell(row, column, metric)
        printed = row.printed.get(column, {}).get(metric)
        if cell is not None or printed is not None:
            measured = (repr(cell.mean), "" if cell.std is None else repr(cell.std)) if cell else ("", "")
            shown = (printed.value, "" if printed.std is None else printed.std) if printed else ("", "")
            mark = row.comparison.compared if printed else ""
            interval = _intervals(table, row, metric).get(column, ("", ""))
            writer.writerow([row.name, column, metric, *measured, *interval, row.done, *shown, mark])
    return text.getvalue()


def write_files(table: Table, folder: Path) -> list[Path]:
    """Writes the Markdown and the CSV, named after the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{table.recipe.name}.md", folder / f"{table.recipe.name}.csv"]
    for file, text in zip(files, (markdown(table), long_csv(table)), strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def _places(table: Table) -> Iterator[tuple[TableRow, str, str]]:
    for row in table.rows:
        for column in dict.fromkeys([*table.columns, *row.cells]):
            for metric in table.recipe.show.metrics:
                yield row, column, metric


def _cell(row: TableRow, column: str, metric: str) -> Cell | None:
    return row.cells.get(column, {}).get(metric)


def _text(cell: Cell | Printed | None, std: bool = True) -> str:
    if cell is None:
        return "-"
    value = cell.value if isinstance(cell, Printed) else cell.mean
    return f"{value:.1f}" if cell.std is None or not std else f"{value:.1f} ± {cell.std:.1f}"


def _printed_name(row: TableRow) -> str:
    only = row.comparison.compared == "printed-only"
    return "printed only" if only else f"printed ({row.comparison.mark})"


def _measured(table: Table, row: TableRow, column: str, between: str) -> Text:
    parts = []
    for metric in table.recipe.show.metrics:
        text = _text(_cell(row, column, metric), std=column in table.means) + _mark(table, row, column, metric)
        parts.append(Text(text, style="bold" if _is_best(table, row, column, metric) else ""))
    return Text(between).join(parts) if row.done else Text("-")


def _printed(table: Table, row: TableRow, column: str, between: str) -> str:
    values = [row.printed.get(column, {}).get(metric) for metric in table.recipe.show.metrics]
    if not any(values):
        return ""
    return between.join(_text(value, std=column in table.means) for value in values)


def _marked(table: Table, row: TableRow, column: str, metric: str) -> str:
    text = _text(_cell(row, column, metric))
    if _is_best(table, row, column, metric):
        return f"**{text}**"
    return text + _mark(table, row, column, metric)


def _is_best(table: Table, row: TableRow, column: str, metric: str) -> bool:
    """Of the column of a mean."""
    means = [cell.mean for other in table.rows if (cell := _cell(other, column, metric))]
    cell = _cell(row, column, metric)
    return column in table.means and cell is not None and cell.mean == max(means)


def _mark(table: Table, row: TableRow, column: str, metric: str) -> str:
    found = table.significance.get((column, metric))
    return f" {TIED}" if found and row.name in found.tied else ""


def _intervals(table: Table, row: TableRow, metric: str) -> dict[str, tuple[float, float]]:
    """In percent, by column."""
    found = [found for (_, of), found in table.significance.items() if of == metric]
    return {
        column: (100 * low, 100 * high)
        for each in found
        for column, (low, high) in each.intervals.get(row.name, {}).items()
    }


def _legend(table: Table) -> str:
    marks = f" {MARKS}" if any(found.tied for found in table.significance.values()) else ""
    return table.recipe.show.legend + marks


def _seeds(row: TableRow) -> str:
    return f"{row.done}/{row.planned}" if row.done < row.planned else str(row.done or "")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
