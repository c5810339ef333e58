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
from probe.report.render.standing import SYMBOLS, Standing, marks, number, standing_of
from probe.report.table import Cell, Table, TableRow

NOTHING = "-"
UNGROUPED = "Not printed"
DIFFERENCE = "measured - printed"
SAME_BENCHMARK = ("exact", "linear-probe")


@dataclass(frozen=True)
class Entry:
    """A row's metric in a column."""

    metric: str
    measured: Cell | None
    printed: PrintedValue | None
    difference: float | None
    standing: tuple[Standing, ...]
    """Of the measured value."""
    printed_standing: tuple[Standing, ...]
    interval: tuple[float, float] | None
    """Of 95 %, over queries, in percent."""
    p: float | None = None
    """Of a mean against the best one, by Holm over the rows."""
    signed: bool = False
    """Whether the values are differences of two rows."""


def entry_of(table: Table, row: TableRow, column: str, metric: str) -> Entry:
    measured, printed = row.cell(column, metric), row.printed_value(column, metric)
    difference = None
    if measured and printed and is_score(metric) and row.relation.compared in SAME_BENCHMARK:
        points = measured.mean - printed.value
        difference = points if math.isfinite(points) else None
    return Entry(
        metric=metric,
        measured=measured,
        printed=printed,
        difference=difference,
        standing=standing_of(table, row, column, metric, "measured"),
        printed_standing=standing_of(table, row, column, metric, "printed"),
        interval=_interval(table, row, column, metric),
        p=found.p.get(row.name) if (found := table.significance.get((column, metric))) else None,
        signed=row.is_difference,
    )


def entries(table: Table, row: TableRow) -> Iterator[tuple[str, Entry]]:
    """The row's entries, each with its column, in the order of the table."""
    for column in table.columns:
        for metric in table.metrics(column):
            yield column, entry_of(table, row, column, metric)


def headed(table: Table) -> Iterator[tuple[str, TableRow]]:
    """The rows and the differences, each with the heading that stands above it: the name of its group where that
    begins; empty for the others, and for the rows of a table of one group."""
    several = len({row.group for row in table.rows if row.group}) > 1
    before = None
    for row in table.lines:
        begins = row.group != before and (several or row.is_difference)
        yield (row.group or UNGROUPED) if begins else "", row
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

    def standing(self, entry: Entry) -> tuple[Standing, ...]:
        """Of the line's value of the entry."""
        return {"measured": entry.standing, "printed": entry.printed_standing, "difference": ()}[self.kind]

    def text(self, entry: Entry, std: bool = True) -> str:
        """`61.3 ± 0.4`, without what it stands out by."""
        if self.kind == "difference":
            return difference_text(entry)
        value: Cell | PrintedValue | None = getattr(entry, self.kind)
        if value is None:
            return NOTHING
        text = value_text(entry, value)
        return text if value.std is None or not std else f"{text} ± {format_value(entry.metric, value.std)}"

    def symbols(self, entry: Entry) -> str:
        """What stands behind the text: ` ▲`, ` ▼`, ` ≈`; empty for most."""
        return "".join(f" {SYMBOLS[standing]}" for standing in self.standing(entry) if standing in SYMBOLS)


def lines(table: Table, row: TableRow) -> Iterator[Line]:
    """The lines of a row, from top to bottom."""
    facts = [dim_text(row), seeds_text(row)] if table.has_runs else []
    yield Line("measured", row.name, facts)
    blank = [""] * len(facts)
    if row.printed:
        yield Line("printed", printed_name(row), blank)
    if has_difference(table, row):
        yield Line("difference", DIFFERENCE, blank)


def value_text(entry: Entry, value: Cell | PrintedValue) -> str:
    """Without deviation; of a difference of two rows with its sign."""
    if entry.signed and math.isfinite(points := number(value)):
        return _signed(entry.metric, points)
    return format_value(entry.metric, value.display)


def difference_text(entry: Entry) -> str:
    """With its sign: `+0.4`, `0.0`."""
    return NOTHING if entry.difference is None else _signed(entry.metric, entry.difference)


def _signed(metric: str, value: float) -> str:
    points = format_value(metric, abs(value))
    return points if points == format_value(metric, 0) else f"{'-' if value < 0 else '+'}{points}"


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


def legend(table: Table, symbols: bool = True) -> str:
    """What the numbers and the marks mean. `symbols`: with those that stand beside values."""
    return " ".join([table.recipe.display.legend, *marks(table, symbols)])


def _interval(table: Table, row: TableRow, column: str, metric: str) -> tuple[float, float] | None:
    for (_, of_metric), found in table.significance.items():
        if of_metric == metric and column in found.intervals.get(row.name, {}):
            low, high = found.intervals[row.name][column]
            return 100 * low, 100 * high
    return None
