"""A table as text: for the terminal, as Markdown and as CSV. Every measured value says how many seeds made it.

show(table, printer())
write_files(table, Path("out/tables"))       # quickstart.md, quickstart.csv
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from probe.tables.reference import MEAN, Printed
from probe.tables.table import Cell, Table, TableRow

TIED = "≈"
MARKS = f"Bold: the best mean; {TIED}: not told from it by a paired permutation test over queries (Holm, p >= 0.05)."


def show(table: Table, console: Console) -> None:
    """Prints the table, why it is not complete, and the commands that complete it, each on one line to copy."""
    console.print(_grid(table))
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


def _grid(table: Table) -> RichTable:
    """The best mean in bold, printed values below the row that they belong to."""
    grid = RichTable(title=Text(table.recipe.title), caption=_legend(table), title_justify="left")
    grid.add_column("row", min_width=20)
    grid.add_column("dim", justify="right")
    grid.add_column("seeds", justify="right")
    for column in table.columns:
        grid.add_column(Text(column), justify="right", no_wrap=column == MEAN)
    for row in table.rows:
        grid.add_row(
            Text(row.name),
            str(row.dim or ""),
            _seeds(row),
            *(_pair(table, row, column) for column in table.columns),
        )
        if row.printed:
            grid.add_row(
                f"  {_printed_name(row)}",
                "",
                "",
                *(_printed(table, row, column) for column in table.columns),
                style="dim",
            )
    return grid


def scores(title: str, summary: dict[str, Any]) -> RichTable:
    """One evaluation's summary, a line a domain."""
    grid = RichTable(title=Text(title), title_justify="left")
    metrics = list(summary["mean"])
    for name in ("domain", *metrics, "queries", "nothing to find"):
        grid.add_column(name, justify="left" if name == "domain" else "right")
    for domain, values in summary["domains"].items():
        percent = ["-" if values[metric] is None else f"{100 * values[metric]:.1f}" for metric in metrics]
        grid.add_row(Text(domain), *percent, f"{values['queries']:,}", f"{values['nothing_to_find']:,}")
    grid.add_section()
    grid.add_row(MEAN, *(f"{100 * summary['mean'][metric]:.1f}" for metric in metrics), style="bold")
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
        cells = [_text(_cell(row, column, metric)) for column in table.columns for metric in metrics]
        best = [
            f"**{cell}**" if _is_best(table, row, metric) else cell + _mark(table, row, metric)
            for cell, metric in zip(cells, metrics, strict=False)
        ]
        lines.append(_line([row.name, str(row.dim or ""), _seeds(row), *best, *cells[len(metrics) :]]))
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
            interval = _interval(table, row, column, metric)
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
        for column in table.columns:
            for metric in table.recipe.show.metrics:
                yield row, column, metric


def _cell(row: TableRow, column: str, metric: str) -> Cell | None:
    return row.cells.get(column, {}).get(metric)


def _text(cell: Cell | Printed | None) -> str:
    if cell is None:
        return "-"
    value = cell.value if isinstance(cell, Printed) else cell.mean
    return f"{value:.1f}" if cell.std is None else f"{value:.1f} ± {cell.std:.1f}"


def _printed_name(row: TableRow) -> str:
    only = row.comparison.compared == "printed-only"
    return "printed only" if only else f"printed ({row.comparison.mark})"


def _pair(table: Table, row: TableRow, column: str) -> Text:
    parts = []
    for metric in table.recipe.show.metrics:
        cell = _cell(row, column, metric)
        short = "-" if cell is None else f"{cell.mean:.1f}"
        best = column == MEAN and _is_best(table, row, metric)
        mark = "" if best or column != MEAN else _mark(table, row, metric)
        parts.append(Text((_text(cell) if column == MEAN else short) + mark, style="bold" if best else ""))
    return Text(" / ").join(parts)


def _printed(table: Table, row: TableRow, column: str) -> str:
    values = [row.printed.get(column, {}).get(metric) for metric in table.recipe.show.metrics]
    return " / ".join(
        _text(value if column == MEAN or value is None else Printed(value.value, None)) for value in values
    )


def _is_best(table: Table, row: TableRow, metric: str) -> bool:
    means = [cell.mean for other in table.rows if (cell := _cell(other, MEAN, metric))]
    cell = _cell(row, MEAN, metric)
    return cell is not None and cell.mean == max(means)


def _mark(table: Table, row: TableRow, metric: str) -> str:
    found = table.significance.get(metric)
    return f" {TIED}" if found and row.name in found.tied else ""


def _interval(table: Table, row: TableRow, column: str, metric: str) -> tuple[str, str]:
    found = table.significance.get(metric)
    low, high = found.intervals.get(row.name, {}).get(column, (None, None)) if found else (None, None)
    return "" if low is None else repr(100 * low), "" if high is None else repr(100 * high)


def _legend(table: Table) -> str:
    marks = f" {MARKS}" if any(found.tied for found in table.significance.values()) else ""
    return table.recipe.show.legend + marks


def _seeds(row: TableRow) -> str:
    return str(row.done) if row.done == row.planned else f"{row.done}/{row.planned}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
