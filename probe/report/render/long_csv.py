"""A table as CSV, one line a value, unrounded: for spreadsheets and scripts.

Path("out/tables/quickstart.csv").write_text(long_csv(table))
"""

import csv
import io
import math
from typing import Any

from probe.report.render.entries import Entry, entry_of
from probe.report.table import Cell, Table, TableRow
from probe.terminal import literal

HEADER = (
    *("group", "row", "column", "metric", "measured", "std", "low", "high", "seeds"),
    *("printed", "printed_std", "compared", "difference", "standing", "printed_standing"),
)


def long_csv(table: Table) -> str:
    """`group,row,column,metric,measured,std,low,high,seeds,printed,printed_std,compared,difference,standing,
    printed_standing`.

    Scores in percent; low and high: the 95 % bootstrap interval over queries; difference: measured minus printed;
    standing: best, best of group, worst, tied, as the table marks them, with semicolons between several. Columns that
    the table does not show, but the runs have, are there too; so are the differences of rows, as rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in table.lines:
        for column in dict.fromkeys([*table.columns, *row.cells]):
            for metric in table.recipe.display.metrics:
                entry = entry_of(table, row, column, metric)
                if entry.measured is not None or entry.printed is not None:
                    names = map(literal, (row.group, row.name, column, metric))
                    writer.writerow([*names, *_values(row, entry)])
    return text.getvalue()


def _values(row: TableRow, entry: Entry) -> list[Any]:
    measured, printed = entry.measured, entry.printed
    return [
        *(("", "") if measured is None else (_number(measured), _exact(measured.std))),
        *(("", "") if entry.interval is None else map(repr, entry.interval)),
        row.done,
        *(("", "") if printed is None else (printed.display, _exact(printed.std))),
        row.relation.compared if printed else "",
        _exact(entry.difference),
        "; ".join(entry.standing),
        "; ".join(entry.printed_standing),
    ]


def _number(cell: Cell) -> str:
    return cell.text if cell.text is not None and math.isnan(cell.mean) else _exact(cell.mean)


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)
