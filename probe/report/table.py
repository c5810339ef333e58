"""The table of a recipe: what its runs measured, row by row, beside what the paper prints.

It averages over seeds and compares rows; every number comes from a finished run, a count or the print.

table = build_table(Inventory(recipe, workspace))
table.rows[0].cell("Mean", "mMP@5").mean
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from probe.errors import UsageError, nearest
from probe.metrics import Scores, Values, balanced_mean
from probe.planning import Estimate, Inventory, Status
from probe.recipes import (
    MEAN,
    PARAMETERS,
    VALIDATION,
    Difference,
    PrintedRelation,
    PrintedValue,
    Recipe,
    Row,
    StaticValues,
)
from probe.report.model_size import SIZE_COLUMN, model_size, training_classes
from probe.report.notes import notes
from probe.report.significance import SeedFolders, Significance, cached_comparison
from probe.runs import Run

DIFFERENCES = "Differences of rows, in points"  # the name of their group


@dataclass(frozen=True)
class Cell:
    """A measured value; `format_value(metric, cell.display)` formats it."""

    mean: float
    """Over the seeds, of a score in percent; a count; NaN for what is a text alone."""
    std: float | None
    """Standard deviation over the seeds, where there are several."""
    text: str | None = None

    @property
    def display(self) -> float | str:
        return self.mean if self.text is None else self.text


@dataclass(frozen=True)
class TableRow:
    name: str
    dim: int | None
    """Length of the embeddings."""
    done: int
    """Finished seeds."""
    planned: int
    """Seeds; 0 for a row without runs."""
    cells: dict[str, dict[str, Cell]]
    """What is measured, by column and metric."""
    printed: dict[str, dict[str, PrintedValue]]
    """What is printed, by column and metric."""
    relation: PrintedRelation
    """How the two may be compared."""
    group: str = ""
    """The part of the printed table that it stands in."""
    marked: bool = True
    """Whether it competes for the marks that the recipe shows."""
    is_difference: bool = False
    """Whether its values are a row's less another one's, in points."""
    lacks: str = ""
    """What is missing of it, of a claim."""

    def cell(self, column: str, metric: str) -> Cell | None:
        return self.cells.get(column, {}).get(metric)

    def printed_value(self, column: str, metric: str) -> PrintedValue | None:
        return self.printed.get(column, {}).get(metric)


@dataclass(frozen=True)
class Table:
    recipe: Recipe
    means: list[str]
    """The columns of balanced means: one an index, and the validation's."""
    domains: list[str]
    """The other columns, by their printed names. Rows may have cells of more: the domains in the second index."""
    rows: list[TableRow]
    reasons: list[str]
    """Why rows are not the printed experiment."""
    missing: list[str]
    """Reasons for missing data, features and rows."""
    commands: list[str]
    """What to run to complete the table, in order."""
    notes: list[str]
    significance: dict[tuple[str, str], Significance] = field(default_factory=dict)
    """By a mean's column and metric."""
    stale: list[str] = field(default_factory=list)
    """Finished runs that are not the recipe's any more, a sentence for each reason."""
    times: dict[str, Estimate | None] = field(default_factory=dict)
    """By command; None where nothing is known."""
    differences: list[TableRow] = field(default_factory=list)
    """Below the rows."""

    @property
    def lines(self) -> list[TableRow]:
        """The rows and the differences."""
        return [*self.rows, *self.differences]

    @property
    def columns(self) -> list[str]:
        return [*self.means, *self.domains]

    @property
    def has_runs(self) -> bool:
        """Whether dimensions and seeds mean anything: not in a table of counts."""
        return any(row.planned for row in self.rows)

    def with_columns(self, names: Sequence[str]) -> "Table":
        """With these columns alone. Raises UsageError, with the nearest, for one that the table has not."""
        if unknown := [name for name in names if name not in self.columns]:
            where = f"--columns {unknown[0]}: {self.recipe.name} has no such column"
            raise UsageError(f"{where}; {nearest(unknown[0], self.columns)}")
        means, domains = ([name for name in part if name in names] for part in (self.means, self.domains))
        return replace(self, means=means, domains=domains)

    def metrics(self, column: str) -> tuple[str, ...]:
        """The recipe's metrics that any row has measured or printed in a column."""
        return self._metrics[column]

    @cached_property
    def _metrics(self) -> dict[str, tuple[str, ...]]:
        display = self.recipe.display
        found = {}
        for column in self.columns:
            values = [values.get(column, {}) for row in self.lines for values in (row.cells, row.printed)]
            known = {metric for of_row in values for metric in of_row}
            metrics = tuple(metric for metric in display.metrics if metric in known)
            own = (column,) if column in display.metrics else ()
            found[column] = metrics or own or display.score_metrics or display.metrics
        return found


def build_table(inventory: Inventory, status: Status | None = None) -> Table:
    """Reads the finished runs. What is not measured has its reason, and the command to run."""
    recipe, status = inventory.recipe, status or Status()
    if recipe.static is not None:
        return _static_table(recipe, recipe.static.read(inventory.workspace))
    if recipe.claims is not None:
        from probe.report.claims import claims_table  # which measures rows as this module does

        return claims_table(inventory)
    display = recipe.display
    rows = [_row(row, inventory) for row in recipe.rows]
    differences = [_difference(difference, inventory) for difference in recipe.differences]
    means = [display.column(MEAN, index) for index in display.indexes] + [VALIDATION] * display.validation
    domains = inventory.manifest.domains if inventory.manifest else recipe.columns
    waiting = [f"{row}: waits for the steps of {specialists}" for row, specialists in inventory.waiting.items()]
    significance = {
        (display.column(MEAN, index), metric): found
        for index in display.indexes
        for metric in display.score_metrics
        if (found := _significance(rows, inventory, metric, index))
    }
    unsure = dict.fromkeys(note for found in significance.values() for note in found.notes)
    return Table(
        recipe=recipe,
        means=means,
        domains=_domain_columns(recipe, means, domains, [*rows, *differences]),
        rows=rows,
        reasons=_reasons([*rows, *differences]),
        missing=[*inventory.missing, *inventory.unfit_rows, *waiting],
        commands=inventory.commands,
        notes=[*notes(inventory), *unsure],
        significance=significance,
        stale=status.stale,
        times=status.times,
        differences=differences,
    )


def _static_table(recipe: Recipe, static: StaticValues) -> Table:
    """The table of a recipe without runs: a column for each metric, of the same name."""
    rows = []
    for row in recipe.rows:
        values = static.values.get(row.name, {})
        cells = {metric: {metric: _static_cell(value)} for metric, value in values.items()}
        rows.append(TableRow(row.name, None, 0, 0, cells, row.relation.values(recipe.reference), row.relation))
    domains = list(recipe.display.metrics)
    return Table(recipe, [], domains, rows, _reasons(rows), static.missing, static.commands, static.notes)


def _static_cell(value: float | str) -> Cell:
    return Cell(math.nan, None, value) if isinstance(value, str) else Cell(float(value), None)


def _row(row: Row, inventory: Inventory) -> TableRow:
    recipe = inventory.recipe
    values = _values_by_seed(row, inventory)
    columns = next(iter(values.values()), {})
    cells = {column: _cells(values, column, recipe.display.score_metrics) for column in columns}
    sizes = size_cells(row, inventory)
    cells |= {SIZE_COLUMN: sizes} if sizes else {}
    dim = next((runs[0].scores.dim for runs in inventory.finished(row)), None)
    printed = row.relation.values(recipe.reference)
    group = recipe.reference.groups.get(row.relation.printed or "", "") if recipe.reference else ""
    marked = row.marked and row.collection is None
    return TableRow(row.name, dim, len(values), len(row.runs), cells, printed, row.relation, group, marked)


def _values_by_seed(row: Row, inventory: Inventory) -> dict[int, dict[str, Values]]:
    """Of each finished seed, by column."""
    finished = inventory.finished(row)
    return {runs[0].config.seed: _values_by_column(row, runs, inventory.recipe) for runs in finished}


def _values_by_column(row: Row, runs: list[Run], recipe: Recipe) -> dict[str, Values]:
    """The values of one seed, from its run or its specialists."""
    display = recipe.display
    columns: dict[str, Values] = {}
    for index in display.indexes:
        if row.specialists:
            scores = oracle_scores(runs, display.protocol, index)
        else:
            scores = display.scores_of(runs[0].scores.test, index)
        columns[display.column(MEAN, index)] = scores.mean
        columns |= {
            display.column(recipe.columns.get(name, name), index): domain.values
            for name, domain in scores.domains.items()
        }
    if display.validation and (validation := _validation(row, runs)):
        columns[VALIDATION] = validation.mean
    return columns


def _validation(row: Row, runs: list[Run]) -> Scores | None:
    """Of one seed's selected epoch, each specialist's on its own domain; None where nothing was trained."""
    found = {str(run.config.domain): val for run in runs if (val := run.scores.val)}
    if len(found) < len(runs):
        return None
    return _oracle(found, "clean") if row.specialists else found[str(runs[0].config.domain)]


def oracle_scores(specialists: Sequence[Run], protocol: str, index: str) -> Scores:
    """The oracle of a seed's specialists, as if it were one run.

    It knows the query's domain: that domain's specialist embeds the query and the whole index (UnED section 4.1). Each
    domain's values are its own specialist's, and the mean is theirs.
    """
    return _oracle({str(run.config.domain): run.scores.test.of(protocol, index) for run in specialists}, protocol)


def _oracle(scores: Mapping[str, Scores], protocol: str) -> Scores:
    """`scores`: of each domain's specialist."""
    domains = {domain: found.domains[domain] for domain, found in scores.items()}
    metrics = list(next(iter(domains.values())).values)
    return Scores(mean=balanced_mean(domains, metrics, protocol), domains=domains)


def _difference(difference: Difference, inventory: Inventory) -> TableRow:
    """Seed by seed where both rows have the same ones, with a deviation; else of the means."""
    recipe = inventory.recipe
    rows = {row.name: row for row in recipe.rows}
    of, minus = (_values_by_seed(rows[name], inventory) for name in (difference.of, difference.minus))
    cells = {}
    for column in next(iter(of.values())) if of and minus else ():
        found = {}
        for metric in recipe.display.score_metrics:
            firsts, others = (_percents(by_seed, column, metric) for by_seed in (of, minus))
            if firsts and firsts.keys() == others.keys():
                found[metric] = _cell([firsts[seed] - others[seed] for seed in firsts])
            elif firsts and others:
                found[metric] = Cell(statistics.fmean(firsts.values()) - statistics.fmean(others.values()), None)
        cells[column] = found
    printed = difference.relation.values(recipe.reference)
    done = min(len(of), len(minus))
    relation = difference.relation
    return TableRow(
        difference.name, None, done, 0, cells, printed, relation, DIFFERENCES, marked=False, is_difference=True
    )


def _percents(by_seed: Mapping[int, dict[str, Values]], column: str, metric: str) -> dict[int, float]:
    """By seed; none of a seed without a value."""
    values = {seed: columns.get(column, {}).get(metric) for seed, columns in by_seed.items()}
    return {seed: 100 * value for seed, value in values.items() if value is not None}


def _cells(values: Mapping[int, dict[str, Values]], column: str, metrics: Sequence[str]) -> dict[str, Cell]:
    """`values`: by seed."""
    found = {metric: list(_percents(values, column, metric).values()) for metric in metrics}
    return {metric: _cell(percents) for metric, percents in found.items() if percents}


def _cell(values: list[float]) -> Cell:
    """Mean and deviation over the seeds."""
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def size_cells(row: Row, inventory: Inventory) -> dict[str, Cell]:
    """The model's parameters by metric, where the recipe shows them. Their number of classes is counted in the training
    images where these are here, else it is the recipe's."""
    metrics = inventory.recipe.display.metrics
    if not set(PARAMETERS) & set(metrics):
        return {}
    features = inventory.features_of(row)
    classes = training_classes(features) if features else inventory.recipe.classes
    size = model_size(row, classes)
    if size is None:
        return {}
    values = dict(zip(PARAMETERS, size, strict=True))
    return {metric: Cell(value, None) for metric, value in values.items() if metric in metrics}


def _significance(rows: list[TableRow], inventory: Inventory, metric: str, index: str) -> Significance | None:
    """By the clean protocol, of which alone there are values by query."""
    recipe, display = inventory.recipe, inventory.recipe.display
    column = display.column(MEAN, index)
    means = {row.name: cell.mean for row in rows if (cell := row.cell(column, metric))}
    if not means or display.protocol != "clean":
        return None
    seeds = {row.name: seed_folders(row, inventory) for row in recipe.rows if row.name in means}
    file = inventory.workspace.tables / ".significance" / f"{recipe.name}-{metric}-{index}.json"
    competing = [row.name for row in rows if row.marked and row.name in means] or list(means)
    found = cached_comparison(file, seeds, max(competing, key=lambda row: means[row]), metric, index)
    intervals = {
        row: {display.column(recipe.columns.get(domain, domain), index): ends for domain, ends in of_row.items()}
        for row, of_row in found.intervals.items()
    }
    return replace(found, intervals=intervals)


def seed_folders(row: Row, inventory: Inventory) -> list[SeedFolders]:
    """The folders of each finished seed's run, or runs."""
    seeds = inventory.finished(row)
    if row.specialists:
        return [{str(run.config.domain): run.path for run in runs} for runs in seeds]
    return [runs[0].path for runs in seeds]


def _domain_columns(recipe: Recipe, means: list[str], domains: Iterable[str], rows: list[TableRow]) -> list[str]:
    """Those that are no means, in printed order, then those that are not printed; the models' size last."""
    printed = dict.fromkeys(column for row in rows for column in row.printed)
    measured = {recipe.columns.get(domain, domain) for domain in domains}
    printed_order = recipe.reference.domains if recipe.reference else []
    order = dict.fromkeys([*recipe.columns.values(), *printed_order, *printed, *sorted(measured)])
    columns = [column for column in order if column in {*printed, *measured} - {*means, MEAN, SIZE_COLUMN}]
    has_sizes = any(SIZE_COLUMN in columns for row in rows for columns in (row.cells, row.printed))
    return columns + [SIZE_COLUMN] * has_sizes


def _reasons(rows: list[TableRow]) -> list[str]:
    """`IN+UJCDS, IN+UJCRR: linear probe: ...`, one line a reason."""
    names_by_reason: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.relation.because:
            names_by_reason.setdefault((row.relation.mark, row.relation.because.strip()), []).append(row.name)
    return [
        f"{'every row' if len(names) == len(rows) else ', '.join(names)}: {mark}: {because}"
        for (mark, because), names in names_by_reason.items()
    ]
