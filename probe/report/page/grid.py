"""The grid of a table in HTML: a column for each domain and metric, and for printed values and differences if there are
any. Every cell has a text to read and a key to sort by.

grid = build_grid(table)
grid.columns[0].label, grid.rows[0].cells[0].text
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from probe.recipes import format_value, is_score
from probe.report.render.entries import Entry, difference_text, entry_of, headed, value_text
from probe.report.render.standing import Standing, number
from probe.report.table import Table, TableRow

MEASURED, PRINTED, DIFFERENCE = "measured", "printed", "difference"


@dataclass(frozen=True)
class GridGroup:
    """The columns of one domain and one metric, below a common header."""

    number: int
    domain: str
    metric: str
    kinds: list[str]
    """Some of MEASURED, PRINTED and DIFFERENCE."""

    @property
    def title(self) -> str:
        """Names the metric too, where no column below does."""
        return self.domain if MEASURED in self.kinds or self.domain == self.metric else f"{self.domain}, {self.metric}"


@dataclass(frozen=True)
class GridColumn:
    group: GridGroup
    kind: str
    """One of the group's."""

    @property
    def title(self) -> str:
        metric = MEASURED if self.group.domain == self.group.metric else self.group.metric
        return {MEASURED: metric, PRINTED: "printed", DIFFERENCE: "diff."}[self.kind]

    @property
    def label(self) -> str:
        return " ".join(dict.fromkeys([self.group.domain, self.group.metric, self.kind]))


@dataclass(frozen=True)
class GridCell:
    text: str = "–"
    key: str = ""
    """A number or a text to sort by; empty where there is no value."""
    spread: str = ""
    standing: tuple[Standing, ...] = ()
    interval: str = ""
    """`60.1–65.2`, of 95 % over the queries."""
    p: str = ""
    """Of a mean against the best one."""
    against: str = ""
    """The same against each of the grid's `references`, for the page's script: `[0.012,null]`, null for the row itself
    and for rows without p."""


@dataclass(frozen=True)
class GridRow:
    heading: str
    """Above it: the name of its group where that begins."""
    name: str
    dim: int | None
    done: int
    """Finished seeds."""
    planned: int
    """Seeds."""
    mark: str
    """How the row relates to the print."""
    cells: list[GridCell]


@dataclass(frozen=True)
class Grid:
    metrics: Sequence[str]
    """To choose from."""
    selected_metric: str
    """Empty where all are visible from the start."""
    has_runs: bool
    """Whether dimensions and seeds mean anything."""
    groups: list[GridGroup]
    rows: list[GridRow]
    differences: list[GridRow]
    """Of two rows each; they stay below the rows, however these are sorted."""
    references: list[str]
    """Rows whose means the others' can be compared with."""

    @property
    def columns(self) -> list[GridColumn]:
        return _columns(self.groups)

    @property
    def has_printed_beside(self) -> bool:
        return any({MEASURED, PRINTED} <= set(group.kinds) for group in self.groups)

    @property
    def has_intervals(self) -> bool:
        return any(cell.interval for row in self.rows for cell in row.cells)

    @property
    def has_differences(self) -> bool:
        return any(DIFFERENCE in group.kinds for group in self.groups)


def build_grid(table: Table) -> Grid:
    """Arranges what the table holds; nothing is computed."""
    places = [(column, metric) for column in table.columns for metric in table.metrics(column)]
    entries = {place: [entry_of(table, row, *place) for row in table.lines] for place in places}
    groups = [
        GridGroup(number, *place, kinds)
        for number, place in enumerate(places)
        if (kinds := _kinds(entries[place], table.has_runs and is_score(place[1])))
    ]
    compared = {row for found in table.significance.values() for row in found.pairs}
    references = [row.name for row in table.rows if row.name in compared]
    rows = []
    for y, (heading, row) in enumerate(headed(table)):
        cells = [_cell(entries[group.domain, group.metric][y], kind) for group in groups for kind in group.kinds]
        cells = [
            replace(cell, against=_against(table, row, column, references)) if column.kind == MEASURED else cell
            for column, cell in zip(_columns(groups), cells, strict=True)
        ]
        rows.append(GridRow(heading, row.name, row.dim, row.done, row.planned, row.relation.mark, cells))
    scores, count = table.recipe.display.score_metrics, len(table.rows)
    selected = scores[0] if len(scores) > 1 else ""
    return Grid(scores, selected, table.has_runs, groups, rows[:count], rows[count:], references)


def _columns(groups: list[GridGroup]) -> list[GridColumn]:
    return [GridColumn(group, kind) for group in groups for kind in group.kinds]


def _against(table: Table, row: TableRow, column: GridColumn, references: list[str]) -> str:
    found = table.significance.get((column.group.domain, column.group.metric))
    p = [found.pairs.get(reference, {}).get(row.name) for reference in references] if found else []
    return json.dumps([each and round(each, 5) for each in p], separators=(",", ":")) if any(p) else ""


def _kinds(entries: list[Entry], planned: bool) -> list[str]:
    """The columns of a metric in a domain; `planned`: whether it will be measured."""
    known = {
        MEASURED: planned or any(entry.measured for entry in entries),
        PRINTED: any(entry.printed for entry in entries),
        DIFFERENCE: any(entry.difference is not None for entry in entries),
    }
    return [kind for kind, found in known.items() if found]


def _cell(entry: Entry, kind: str) -> GridCell:
    if kind == DIFFERENCE:
        if entry.difference is None:
            return GridCell()
        return GridCell(difference_text(entry).replace("-", "−"), _key(entry.difference))
    found = entry.measured if kind == MEASURED else entry.printed
    if found is None:
        return GridCell()
    text, points = value_text(entry, found), number(found)
    text = text.replace("-", "−") if entry.signed else text
    key = text if math.isnan(points) else _key(points)
    spread = "" if found.std is None else f"± {format_value(entry.metric, found.std)}"
    if kind == PRINTED:
        return GridCell(text, key, spread, entry.printed_standing)
    return GridCell(text, key, spread, entry.standing, _interval(entry), _p(entry))


def _key(number: float) -> str:
    return f"{number:.6f}"


def _interval(entry: Entry) -> str:
    if entry.interval is None:
        return ""
    low, high = (format_value(entry.metric, bound) for bound in entry.interval)
    return f"{low}–{high}"


def _p(entry: Entry) -> str:
    if entry.p is None:
        return ""
    return "p < 0.001" if entry.p < 0.001 else f"p = {entry.p:.3f}"
