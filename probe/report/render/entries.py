"""The entries of a table and the lines of its rows, as text. Every output format is made of these.

A difference is measured minus printed, in points. There is one where both are scores on the same benchmark; for a
linear probe of a backbone that the paper fine-tunes, it is what fine-tuning is worth.

entry = entry_of(table, table.rows[0], "Mean", "mMP@5")
[line.text(entry) for line in lines(table, table.rows[0])]      # "61.3 ± 0.4", "61.7", "-0.4"
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from probe.planning import UNKNOWN
from probe.recipes import PrintedValue, format_value, is_score
from probe.report.table import Cell, Table, TableRow

NOTHING = "-"
UNGROUPED = "Not in the print"
TIED = "≈"
MARKS = (
    f"Bold: the best mean; {TIED}: no significant difference from it "
    "(paired permutation test over queries, Holm, p >= 0.05)."
)
DIFFERENCE = "measured - printed"
SAME_BENCHMARK = ("exact", "linear-probe")

Standing = Literal["best", "tied", ""]


@dataclass(frozen=True)
class Entry:
    """A row's metric in a column."""

    metric: str
    measured: Cell | None
    printed: PrintedValue | None
    difference: float | None
    standing: Standing
    """Among the measured values of a mean."""
    interval: tuple[float, float] | None
    """Of 95 %, over queries, in percent."""


def entry_of(table: Table, row: TableRow, column: str, metric: str) -> Entry:
    measured, printed = row.cell(column, metric), row.printed_value(column, metric)
    difference = None
    if measured and printed and is_score(metric) and row.relation.compared in SAME_BENCHMARK:
        points = measured.mean - printed.value
        difference = points if math.isfinite(points) else None
    standing = _standing(table, row, column, metric)
    return Entry(metric, measured, printed, difference, standing, _interval(table, row, column, metric))


def entries(table: Table, row: TableRow) -> Iterator[tuple[str, Entry]]:
    """The row's entries, each with its column, in the order of the table."""
    for column in table.columns:
        for metric in table.metrics(column):
            yield column, entry_of(table, row, column, metric)


def headed(table: Table) -> Iterator[tuple[str, TableRow]]:
    """The rows, each with the heading that stands above it: the name of its group where that begins; empty for the
    others, and everywhere in a table of one group."""
    several = len({row.group for row in table.rows if row.group}) > 1
    before = None
    for row in table.rows:
        yield (row.group or UNGROUPED) if several and row.group != before else "", row
        before = row.group


@dataclass(frozen=True)
class Line:
    """One of the lines of a row: its measured values, its printed ones, or the differences."""

    kind: Literal["measured", "printed", "difference"]
    name: str
    facts: list[str]
    """Dimension and seeds, in a table that has runs."""

    def has(self, entry: Entry) -> bool:
        """Whether the line has a value of the entry."""
        return getattr(entry, self.kind) is not None

    def text(self, entry: Entry, std: bool = True) -> str:
        """`61.3 ± 0.4`, without mark."""
        if self.kind == "difference":
            return difference_text(entry)
        return _text(entry.metric, getattr(entry, self.kind), std)


def lines(table: Table, row: TableRow) -> Iterator[Line]:
    """The lines of a row, from top to bottom."""
    facts = [dim_text(row), seeds_text(row)] if table.has_runs else []
    yield Line("measured", row.name, facts)
    blank = [""] * len(facts)
    if row.printed:
        yield Line("printed", printed_name(row), blank)
    if has_difference(table, row):
        yield Line("difference", DIFFERENCE, blank)


def difference_text(entry: Entry) -> str:
    """With its sign: `+0.4`, `0.0`."""
    if entry.difference is None:
        return NOTHING
    points = format_value(entry.metric, abs(entry.difference))
    return points if points == format_value(entry.metric, 0) else f"{'-' if entry.difference < 0 else '+'}{points}"


def has_difference(table: Table, row: TableRow) -> bool:
    return any(entry.difference is not None for _, entry in entries(table, row))


def printed_name(row: TableRow) -> str:
    """The name of the line of printed values."""
    only = row.relation.compared == "printed-only"
    return "printed only" if only else f"printed ({row.relation.mark})"


def seeds_text(row: TableRow) -> str:
    """`1/3` while some are missing."""
    return f"{row.done}/{row.planned}" if row.done < row.planned else str(row.done or "")


def dim_text(row: TableRow) -> str:
    return str(row.dim or "")


def time_text(table: Table, command: str) -> str | None:
    """How long a command takes; None for one without estimate, such as `probe data`."""
    return str(table.times[command] or UNKNOWN) if command in table.times else None


def legend(table: Table) -> str:
    """What the numbers and the marks mean."""
    marks = f" {MARKS}" if any(found.tied for found in table.significance.values()) else ""
    return table.recipe.display.legend + marks


def _text(metric: str, value: Cell | PrintedValue | None, std: bool) -> str:
    if value is None:
        return NOTHING
    text = format_value(metric, value.display)
    return text if value.std is None or not std else f"{text} ± {format_value(metric, value.std)}"


def _standing(table: Table, row: TableRow, column: str, metric: str) -> Standing:
    cell = row.cell(column, metric)
    if cell is None or column not in table.means or not is_score(metric):
        return ""
    if cell.mean == max(other.mean for each in table.rows if (other := each.cell(column, metric))):
        return "best"
    found = table.significance.get((column, metric))
    return "tied" if found and row.name in found.tied else ""


def _interval(table: Table, row: TableRow, column: str, metric: str) -> tuple[float, float] | None:
    for (_, of_metric), found in table.significance.items():
        if of_metric == metric and column in found.intervals.get(row.name, {}):
            low, high = found.intervals[row.name][column]
            return 100 * low, 100 * high
    return None
