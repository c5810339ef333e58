"""A table as HTML shows it: a column for each domain and metric, and for the printed value and the difference where
there is one. Every value has a text to read and a key to sort by.

grid = build_grid(table)
grid.columns[0].metric, grid.lines[0].values[0].text
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probe.recipes.display import is_score, written
from probe.recipes.reference import Printed
from probe.report.render.entries import Entry, difference_text, entry_of, has_runs
from probe.report.table import Cell, Table

MEASURED, PRINTED, DIFFERENCE = "measured", "printed", "difference"


@dataclass(frozen=True)
class Group:
    """The columns of one domain and one metric, below a common header, by `number`. Where no column below names the
    metric, the header does."""

    number: int
    domain: str
    metric: str
    kinds: list[str]

    @property
    def title(self) -> str:
        return self.domain if MEASURED in self.kinds or self.domain == self.metric else f"{self.domain}, {self.metric}"


@dataclass(frozen=True)
class Column:
    """`kind`: measured, printed or difference of the group's metric in its domain."""

    group: Group
    kind: str

    @property
    def title(self) -> str:
        metric = MEASURED if self.group.domain == self.group.metric else self.group.metric
        return {MEASURED: metric, PRINTED: "printed", DIFFERENCE: "diff."}[self.kind]

    @property
    def label(self) -> str:
        return " ".join(dict.fromkeys([self.group.domain, self.group.metric, self.kind]))


@dataclass(frozen=True)
class Value:
    """`key`: what it is sorted by, a number or a text; empty where there is nothing. `standing`: best, tied or
    neither."""

    text: str = "–"
    key: str = ""
    spread: str = ""
    standing: str = ""
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """One row of the table: `done` of `planned` seeds; `mark`: how it relates to the print."""

    name: str
    dim: int | None
    done: int
    planned: int
    mark: str
    values: list[Value]


@dataclass(frozen=True)
class Grid:
    """`metrics`: to choose from; `at_first`: the one that is shown first, empty where all are. `has_runs`: whether
    dimensions and seeds mean anything."""

    metrics: Sequence[str]
    at_first: str
    has_runs: bool
    groups: list[Group]
    lines: list[Line]

    @property
    def columns(self) -> list[Column]:
        return [Column(group, kind) for group in self.groups for kind in group.kinds]

    @property
    def has_printed_beside(self) -> bool:
        return any({MEASURED, PRINTED} <= set(group.kinds) for group in self.groups)

    @property
    def has_differences(self) -> bool:
        return any(DIFFERENCE in group.kinds for group in self.groups)


def build_grid(table: Table) -> Grid:
    """Everything that the table holds; nothing is computed."""
    places = [(column, metric) for column in table.columns for metric in table.metrics(column)]
    entries = {place: [entry_of(table, row, *place) for row in table.rows] for place in places}
    planned = has_runs(table)
    groups = [
        Group(number, *place, kinds)
        for number, place in enumerate(places)
        if (kinds := _kinds(entries[place], planned and is_score(place[1])))
    ]
    lines = [
        Line(
            row.name,
            row.dim,
            row.done,
            row.planned,
            row.comparison.mark,
            [_value(entries[group.domain, group.metric][y], kind) for group in groups for kind in group.kinds],
        )
        for y, row in enumerate(table.rows)
    ]
    scores = table.recipe.show.scores
    return Grid(scores, scores[0] if len(scores) > 1 else "", planned, groups, lines)


def _kinds(entries: list[Entry], planned: bool) -> list[str]:
    """What there is of a metric in a domain, or what is `planned`."""
    there = {
        MEASURED: planned or any(entry.measured for entry in entries),
        PRINTED: any(entry.printed for entry in entries),
        DIFFERENCE: any(entry.difference is not None for entry in entries),
    }
    return [kind for kind, found in there.items() if found]


def _value(entry: Entry, kind: str) -> Value:
    if kind == DIFFERENCE:
        if entry.difference is None:
            return Value()
        return Value(difference_text(entry).replace("-", "−"), _key(entry.difference))
    found = entry.measured if kind == MEASURED else entry.printed
    if found is None:
        return Value()
    text, spread = written(entry.metric, found.shown), ""
    if found.std is not None:
        spread = f"± {written(entry.metric, found.std)}"
    if kind == PRINTED:
        return Value(text, _number(found) or text, spread)
    return Value(text, _number(found) or text, spread, entry.standing, _interval(entry))


def _number(found: Cell | Printed) -> str:
    """Empty for a text."""
    number = found.mean if isinstance(found, Cell) else found.value
    return "" if math.isnan(number) else _key(number)


def _key(number: float) -> str:
    return f"{number:.6f}"


def _interval(entry: Entry) -> str:
    if entry.interval is None:
        return ""
    low, high = (written(entry.metric, bound) for bound in entry.interval)
    return f"95 % interval over queries: {low} to {high}"
