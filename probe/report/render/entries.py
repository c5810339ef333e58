"""What a table tells at one place, and the words for it. Every form of a table is made of these.

A difference is measured minus printed, in points. There is one where both are scores on the same benchmark; for a
linear probe of what the paper fine-tuned, it is what fine-tuning is worth.

entry = entry_of(table, table.rows[0], "Mean", "mMP@5")
[line.text(entry) for line in lines(table, table.rows[0])]      # "61.3 ± 0.4", "61.7", "-0.4"
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from probe.planning.duration import UNKNOWN
from probe.recipes.display import is_score, written
from probe.recipes.reference import Printed
from probe.report.table import Cell, Table, TableRow

NOTHING = "-"
TIED = "≈"
MARKS = f"Bold: the best mean; {TIED}: not told from it by a paired permutation test over queries (Holm, p >= 0.05)."
DIFFERENCE = "measured - printed"
SAME_BENCHMARK = ("exact", "linear-probe")


@dataclass(frozen=True)
class Entry:
    """A row's metric in a column. `interval`: of 95 %, over queries, in percent."""

    metric: str
    measured: Cell | None
    printed: Printed | None
    difference: float | None
    standing: Literal["best", "tied", ""]
    interval: tuple[float, float] | None


def entry_of(table: Table, row: TableRow, column: str, metric: str) -> Entry:
    """What is known of a place."""
    measured, printed = _cell(row, column, metric), row.printed.get(column, {}).get(metric)
    difference = None
    if measured and printed and is_score(metric) and row.comparison.compared in SAME_BENCHMARK:
        points = measured.mean - printed.value
        difference = points if math.isfinite(points) else None
    standing = _standing(table, row, column, metric)
    return Entry(metric, measured, printed, difference, standing, _interval(table, row, column, metric))


def entries(table: Table, row: TableRow) -> Iterator[tuple[str, Entry]]:
    """Each column with the entry of each metric, in the order of the table."""
    for column in table.columns:
        for metric in table.metrics(column):
            yield column, entry_of(table, row, column, metric)


@dataclass(frozen=True)
class Line:
    """One of a row's: what is measured, what is printed, or the difference. `facts`: dimension and seeds, in a table
    that has runs."""

    kind: Literal["measured", "printed", "difference"]
    name: str
    facts: list[str]

    def tells(self, entry: Entry) -> bool:
        """Whether there is anything at this place."""
        return getattr(entry, self.kind) is not None

    def text(self, entry: Entry, std: bool = True) -> str:
        """`61.3 ± 0.4`, without mark."""
        if self.kind == "difference":
            return difference_text(entry)
        return _text(entry.metric, getattr(entry, self.kind), std)


def lines(table: Table, row: TableRow) -> Iterator[Line]:
    """What a row is told in, one below the other."""
    facts = [dim_text(row), seeds_text(row)] if has_runs(table) else []
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
    points = written(entry.metric, abs(entry.difference))
    return points if points == written(entry.metric, 0) else f"{'-' if entry.difference < 0 else '+'}{points}"


def has_difference(table: Table, row: TableRow) -> bool:
    return any(entry.difference is not None for _, entry in entries(table, row))


def printed_name(row: TableRow) -> str:
    """What the line of printed values is called."""
    only = row.comparison.compared == "printed-only"
    return "printed only" if only else f"printed ({row.comparison.mark})"


def seeds_text(row: TableRow) -> str:
    """`1/3` while some are not measured."""
    return f"{row.done}/{row.planned}" if row.done < row.planned else str(row.done or "")


def dim_text(row: TableRow) -> str:
    return str(row.dim or "")


def has_runs(table: Table) -> bool:
    """Whether dimensions and seeds mean anything: not in a table of counts."""
    return any(row.planned for row in table.rows)


def time_text(table: Table, command: str) -> str | None:
    """How long a command takes; None for one that is not timed."""
    return str(table.times[command] or UNKNOWN) if command in table.times else None


def legend(table: Table) -> str:
    """What the numbers and the marks are."""
    marks = f" {MARKS}" if any(found.tied for found in table.significance.values()) else ""
    return table.recipe.show.legend + marks


def _text(metric: str, value: Cell | Printed | None, std: bool) -> str:
    if value is None:
        return NOTHING
    text = written(metric, value.shown)
    return text if value.std is None or not std else f"{text} ± {written(metric, value.std)}"


def _cell(row: TableRow, column: str, metric: str) -> Cell | None:
    return row.cells.get(column, {}).get(metric)


def _standing(table: Table, row: TableRow, column: str, metric: str) -> Literal["best", "tied", ""]:
    """Among the measured values of a mean."""
    cell = _cell(row, column, metric)
    if cell is None or column not in table.means or not is_score(metric):
        return ""
    if cell.mean == max(other.mean for each in table.rows if (other := _cell(each, column, metric))):
        return "best"
    found = table.significance.get((column, metric))
    return "tied" if found and row.name in found.tied else ""


def _interval(table: Table, row: TableRow, column: str, metric: str) -> tuple[float, float] | None:
    for (_, of), found in table.significance.items():
        if of == metric and column in found.intervals.get(row.name, {}):
            low, high = found.intervals[row.name][column]
            return 100 * low, 100 * high
    return None
