"""A table as the report shows it: a column for each domain and metric, and for the printed value and the difference
where the paper has one. Every cell has a number to sort by and a text to read.

grid = build_grid(table)
grid.columns[0].metric, grid.rows[0].cells[0].text
"""

from collections.abc import Iterator
from dataclasses import dataclass

from probe.tables.table import Cell, Table, TableRow

MEASURED, PRINTED, DIFFERENCE = "measured", "printed", "difference"
NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """`kind`: measured, printed or difference of a metric on a domain."""

    domain: str
    metric: str
    kind: str

    @property
    def title(self) -> str:
        return {MEASURED: self.metric, PRINTED: PRINTED, DIFFERENCE: "diff."}[self.kind]


@dataclass(frozen=True)
class Group:
    """The columns of one domain and one metric, below a common header."""

    domain: str
    metric: str
    span: int


@dataclass(frozen=True)
class Value:
    """`number`: what the column is sorted by, None where there is nothing. `best` of its column; `tied`: not told from
    the best."""

    text: str
    number: float | None
    spread: str = ""
    best: bool = False
    tied: bool = False
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
    metrics: list[str]
    columns: list[Column]
    groups: list[Group]
    lines: list[Line]

    @property
    def has_printed(self) -> bool:
        return any(column.kind == PRINTED for column in self.columns)

    @property
    def has_tied(self) -> bool:
        return any(value.tied for line in self.lines for value in line.values)


def build_grid(table: Table) -> Grid:
    """Everything that the table holds; nothing is computed but differences."""
    metrics = table.recipe.show.metrics
    columns = [
        Column(domain, metric, kind)
        for domain in table.columns
        for metric in metrics
        for kind in _kinds(table, domain, metric)
    ]
    places = [(domain, metric) for domain in table.columns for metric in metrics]
    groups = [Group(*place, sum((column.domain, column.metric) == place for column in columns)) for place in places]
    best = {(domain, metric): _best(table, domain, metric) for domain, metric in places}
    lines = [
        Line(
            row.name,
            row.dim,
            row.done,
            row.planned,
            row.comparison.mark,
            [_value(table, row, column, best) for column in columns],
        )
        for row in table.rows
    ]
    return Grid(list(metrics), columns, groups, lines)


def _kinds(table: Table, domain: str, metric: str) -> list[str]:
    printed = any(metric in row.printed.get(domain, {}) for row in table.rows)
    return [MEASURED, PRINTED, DIFFERENCE] if printed else [MEASURED]


def _best(table: Table, domain: str, metric: str) -> float | None:
    return max((cell.mean for row in table.rows if (cell := _cell(row, domain, metric))), default=None)


def _cell(row: TableRow, domain: str, metric: str) -> Cell | None:
    return row.cells.get(domain, {}).get(metric)


def _value(table: Table, row: TableRow, column: Column, best: dict[tuple[str, str], float | None]) -> Value:
    cell = _cell(row, column.domain, column.metric)
    printed = row.printed.get(column.domain, {}).get(column.metric)
    if column.kind == PRINTED:
        return Value(NOTHING, None) if printed is None else Value(*_texts(printed.value, printed.std))
    if cell is None or (column.kind == DIFFERENCE and printed is None):
        return Value(NOTHING, None)
    if column.kind == DIFFERENCE and printed is not None:
        difference = cell.mean - printed.value
        return Value(f"{difference:+.1f}".replace("-", "−"), difference)
    is_best = cell.mean == best[column.domain, column.metric]
    judged = table.significance.get((column.domain, column.metric))
    tied = judged is not None and not is_best and row.name in judged.tied
    interval = next((found for found in _intervals(table, row, column) if found), None)
    return Value(*_texts(cell.mean, cell.std), is_best, tied, _interval(interval))


def _intervals(table: Table, row: TableRow, column: Column) -> Iterator[tuple[float, float] | None]:
    """In each index that the metric is judged in."""
    for (_, metric), judged in table.significance.items():
        if metric == column.metric:
            yield judged.intervals.get(row.name, {}).get(column.domain)


def _texts(mean: float, std: float | None) -> tuple[str, float, str]:
    return f"{mean:.1f}", mean, "" if std is None else f"± {std:.1f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return (
        "" if interval is None else "95 % interval over queries: {:.1f} to {:.1f}".format(*(100 * x for x in interval))
    )
