"""A table as HTML shows it: a column for each domain and metric, and for the printed value and the difference where the
paper has one. Every value has a text to read and a key to sort by.

grid = build_grid(table)
grid.columns[0].metric, grid.lines[0].values[0].text
"""

import math
from dataclasses import dataclass

from probe.tables.shown import is_score, written
from probe.tables.table import Cell, Table, TableRow

MEASURED, PRINTED, DIFFERENCE = "measured", "printed", "difference"
NOTHING = "–"
SAME, DIFFERENT = "same", "differs"


@dataclass(frozen=True)
class Column:
    """`kind`: measured, printed or difference of a metric on a domain. `group`: its number."""

    domain: str
    metric: str
    kind: str
    group: int

    @property
    def title(self) -> str:
        return {MEASURED: self.metric, PRINTED: PRINTED, DIFFERENCE: "diff."}[self.kind]


@dataclass(frozen=True)
class Group:
    """The columns of one domain and one metric, below a common header, by `number`. `named`: whether a column
    below names the metric."""

    number: int
    domain: str
    metric: str
    span: int
    named: bool


@dataclass(frozen=True)
class Value:
    """`number`: what the column is sorted by, None where there is nothing or a text. `best` of its column; `tied`: not
    told from the best."""

    text: str
    number: float | None
    spread: str = ""
    best: bool = False
    tied: bool = False
    interval: str = ""

    @property
    def key(self) -> str:
        if self.number is not None:
            return f"{self.number:.6f}"
        return "" if self.text == NOTHING else self.text


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
    """`at_first`: the metric that is shown first; empty where all are."""

    metrics: list[str]
    at_first: str
    columns: list[Column]
    groups: list[Group]
    lines: list[Line]

    @property
    def has_runs(self) -> bool:
        return any(line.planned for line in self.lines)

    @property
    def has_printed_beside(self) -> bool:
        return {MEASURED, PRINTED} <= {column.kind for column in self.columns}

    @property
    def has_best(self) -> bool:
        return any(value.best for line in self.lines for value in line.values)

    @property
    def has_tied(self) -> bool:
        return any(value.tied for line in self.lines for value in line.values)


def build_grid(table: Table) -> Grid:
    """Everything that the table holds; nothing is computed but differences."""
    metrics = list(table.recipe.show.metrics)
    columns, groups, best = [], [], {}
    for domain, metric in [(domain, metric) for domain in table.columns for metric in metrics]:
        kinds = _kinds(table, domain, metric)
        columns += [Column(domain, metric, kind, len(groups)) for kind in kinds]
        groups.append(Group(len(groups), domain, metric, len(kinds), MEASURED in kinds))
        best[domain, metric] = _best(table, domain, metric)
    groups = [group for group in groups if group.span]
    lines = [
        Line(
            row.name,
            row.dim,
            row.done,
            row.planned,
            row.comparison.mark,
            [_value(table, row, column, best[column.domain, column.metric]) for column in columns],
        )
        for row in table.rows
    ]
    several = len(metrics) > 1 and len(table.columns) > 1 and all(map(is_score, metrics))
    return Grid(metrics, metrics[0] if several else "", columns, groups, lines)


def _kinds(table: Table, domain: str, metric: str) -> list[str]:
    cells = [_cell(row, domain, metric) for row in table.rows]
    printed = [row.printed.get(domain, {}).get(metric) for row in table.rows]
    planned = any(row.planned for row in table.rows) and is_score(metric)
    kinds = [MEASURED] if planned or any(cells) else []
    kinds += [PRINTED] if any(printed) else []
    return kinds + ([DIFFERENCE] if any(a and b for a, b in zip(cells, printed, strict=True)) else [])


def _best(table: Table, domain: str, metric: str) -> float | None:
    """The highest score, where there are two to choose from."""
    means = [cell.mean for row in table.rows if (cell := _cell(row, domain, metric))]
    return max(means) if len(means) > 1 and is_score(metric) else None


def _cell(row: TableRow, domain: str, metric: str) -> Cell | None:
    return row.cells.get(domain, {}).get(metric)


def _value(table: Table, row: TableRow, column: Column, best: float | None) -> Value:
    metric = column.metric
    cell = _cell(row, column.domain, metric)
    printed = row.printed.get(column.domain, {}).get(metric)
    if column.kind == PRINTED:
        return Value(*_texts(metric, printed.value, printed.shown, printed.std)) if printed else Value(NOTHING, None)
    if cell is None or (column.kind == DIFFERENCE and printed is None):
        return Value(NOTHING, None)
    if column.kind == DIFFERENCE and printed is not None:
        return _difference(metric, cell.mean - printed.value, cell.shown == printed.shown)
    is_best = cell.mean == best
    judged = table.significance.get((column.domain, metric))
    tied = judged is not None and not is_best and row.name in judged.tied
    return Value(*_texts(metric, cell.mean, cell.shown, cell.std), is_best, tied, _interval(table, row, column))


def _texts(metric: str, number: float, shown: float | str, std: float | None) -> tuple[str, float | None, str]:
    spread = "" if std is None else f"± {written(metric, std)}"
    return written(metric, shown), None if math.isnan(number) else number, spread


def _difference(metric: str, difference: float, same: bool) -> Value:
    """`+0.3`; of texts, which have none, whether they are the same."""
    if math.isnan(difference):
        return Value(SAME if same else DIFFERENT, None)
    size = written(metric, abs(difference))
    sign = "" if size == written(metric, 0) else "−" if difference < 0 else "+"
    return Value(sign + size, difference)


def _interval(table: Table, row: TableRow, column: Column) -> str:
    """Of each index that the metric is judged in, the one with this column."""
    for (_, metric), judged in table.significance.items():
        interval = judged.intervals.get(row.name, {}).get(column.domain)
        if metric == column.metric and interval:
            low, high = (written(metric, 100 * bound) for bound in interval)
            return f"95 % interval over queries: {low} to {high}"
    return ""
