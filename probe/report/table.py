"""A table: what a recipe's runs measured, row by row, beside what the paper printed. It computes nothing else.

table = build_table(Bench(recipe, workspace))
table.rows[0].cells["Mean"]["mMP@5"].mean
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from probe.data.selection import CLASS
from probe.errors import nearest
from probe.metrics import Values
from probe.planning.duration import Estimate
from probe.planning.inventory import Bench
from probe.planning.specialists import oracle_scores
from probe.recipes.display import PARAMETERS
from probe.recipes.recipe import Recipe
from probe.recipes.reference import MEAN, Printed
from probe.recipes.row import Comparison, Row
from probe.recipes.static import Found
from probe.report.model_size import SIZE, parameters
from probe.report.significance import Seed, Significance
from probe.report.significance_cache import judged
from probe.runs.directory import Run


@dataclass(frozen=True)
class Cell:
    """A score in percent, its mean over the seeds and their standard deviation where there are several; or a count.

    `text`: of what is no number, whose mean is NaN. `written(metric, cell.shown)` is how it is written.
    """

    mean: float
    std: float | None
    text: str | None = None

    @property
    def shown(self) -> float | str:
        return self.mean if self.text is None else self.text


@dataclass(frozen=True)
class TableRow:
    """`cells[column][metric]`, empty until something is measured or counted; `done` of `planned` seeds.

    `comparison`: how what is measured relates to what is printed.
    """

    name: str
    dim: int | None
    done: int
    planned: int
    cells: dict[str, dict[str, Cell]]
    printed: dict[str, dict[str, Printed]]
    comparison: Comparison


@dataclass(frozen=True)
class Table:
    """`means` and `domains`: the columns, as they are printed; rows may have cells of more, the domains in the second
    index. `reasons`: why rows are not the printed experiment. `missing` says why rows are empty, `needs` the commands
    that fill them. `significance[mean's column, metric]`. `stale`: what was measured of something else than is here
    now; `times`: of commands of `needs`, None where nothing is known."""

    recipe: Recipe
    means: list[str]
    domains: list[str]
    rows: list[TableRow]
    reasons: list[str]
    missing: list[str]
    needs: list[str]
    notes: list[str]
    significance: dict[tuple[str, str], Significance] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    times: dict[str, Estimate | None] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return [*self.means, *self.domains]

    def metrics(self, column: str) -> tuple[str, ...]:
        """What a column shows: of the recipe's metrics, those that any row has measured or printed there."""
        return self._metrics[column]

    @cached_property
    def _metrics(self) -> dict[str, tuple[str, ...]]:
        show = self.recipe.show
        places = {
            column: {
                metric for row in self.rows for part in (row.cells, row.printed) for metric in part.get(column, {})
            }
            for column in self.columns
        }
        there = {column: tuple(each for each in show.metrics if each in places[column]) for column in places}
        return {column: metrics or show.scores or show.metrics for column, metrics in there.items()}


def build_table(bench: Bench) -> Table:
    """Reads the finished runs; what is not measured is said, with the command to run."""
    recipe = bench.recipe
    if recipe.counter is not None:
        return _counted(recipe, recipe.counter.count(bench.workspace))
    rows = [_row(row, bench) for row in recipe.rows]
    domains = bench.manifest.domains if bench.manifest else recipe.columns
    missing = [*bench.missing, *(f"{row}: waits for the steps of {of}" for row, of in bench.waiting.items())]
    needs = list(bench.needs)
    if needs or bench.waiting or any(not run.done for runs in bench.runs_of.values() for run in runs):
        needs.append(bench.fit_command)
    significance = {
        (recipe.show.column(MEAN, index), metric): found
        for index in recipe.show.indexes
        for metric in recipe.show.scores
        if (found := _significance(rows, bench, metric, index))
    }
    means = [recipe.show.column(MEAN, index) for index in recipe.show.indexes]
    notes = [*_notes(bench), *dict.fromkeys(note for found in significance.values() for note in found.notes)]
    return Table(
        recipe, means, _domains(recipe, domains, rows), rows, _reasons(rows), missing, needs, notes, significance
    )


def _counted(recipe: Recipe, found: Found) -> Table:
    """The table of a recipe without runs: a column for each metric, called like it."""
    rows = []
    for row in recipe.rows:
        values = found.values.get(row.name, {})
        cells = {metric: {metric: _cell(value)} for metric, value in values.items()}
        printed = row.comparison.values(recipe.reference)
        rows.append(TableRow(row.name, None, 0, 0, cells, printed, row.comparison))
    return Table(recipe, [], list(recipe.show.metrics), rows, _reasons(rows), found.missing, found.needs, found.notes)


def _cell(value: float | str) -> Cell:
    return Cell(math.nan, None, value) if isinstance(value, str) else Cell(float(value), None)


def _significance(rows: list[TableRow], bench: Bench, metric: str, index: str) -> Significance | None:
    show, names = bench.recipe.show, bench.recipe.columns
    mean = show.column(MEAN, index)
    means = {row.name: row.cells[mean][metric].mean for row in rows if metric in row.cells.get(mean, {})}
    if not means or show.protocol != "clean":  # of which alone there are values by query
        return None
    seeds = {row.name: _seeds(row, bench) for row in bench.recipe.rows if row.name in means}
    file = bench.workspace.tables / ".judged" / f"{bench.recipe.name}-{metric}-{index}.json"
    found = judged(file, seeds, max(means, key=lambda row: means[row]), metric, index)
    intervals = {
        row: {show.column(names.get(domain, domain), index): interval for domain, interval in of_row.items()}
        for row, of_row in found.intervals.items()
    }
    return replace(found, intervals=intervals)


def _seeds(row: Row, bench: Bench) -> list[Seed]:
    """The folders of each finished seed's run, or runs."""
    seeds = bench.finished(row)
    if row.specialists:
        return [{str(run.config.domain): run.path for run in runs} for runs in seeds]
    return [runs[0].path for runs in seeds]


def _domains(recipe: Recipe, domains: Iterable[str], rows: list[TableRow]) -> list[str]:
    """In the order of the print, then what is in no printed table; the models' size last."""
    printed = dict.fromkeys(column for row in rows for column in row.printed)
    measured = {recipe.columns.get(domain, domain) for domain in domains}
    order = [*recipe.columns.values(), *_printed_order(recipe), *printed, *sorted(measured)]
    shown = [column for column in dict.fromkeys(order) if column in {*printed, *measured} - {MEAN, SIZE}]
    return shown + [SIZE] * any(SIZE in columns for row in rows for columns in (row.cells, row.printed))


def _printed_order(recipe: Recipe) -> list[str]:
    return recipe.reference.domains if recipe.reference else []


def _reasons(rows: list[TableRow]) -> list[str]:
    """`IN+UJCDS, IN+UJCRR: linear probe: ...`, one line a reason."""
    named: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.comparison.because:
            named.setdefault((row.comparison.mark, row.comparison.because.strip()), []).append(row.name)
    return [
        f"{'every row' if len(names) == len(rows) else ', '.join(names)}: {mark}: {because}"
        for (mark, because), names in named.items()
    ]


def _row(row: Row, bench: Bench) -> TableRow:
    printed = row.comparison.values(bench.recipe.reference)
    seeds = bench.finished(row)
    scores = [_by_column(row, runs, bench.recipe) for runs in seeds]
    cells = {column: _cells(scores, column, bench.recipe.show.scores) for column in scores[0]} if scores else {}
    sizes = _sizes(row, bench)
    cells |= {SIZE: sizes} if sizes else {}
    dim = seeds[0][0].scores.dim if seeds else None
    return TableRow(row.name, dim, len(seeds), len(row.runs), cells, printed, row.comparison)


def _sizes(row: Row, bench: Bench) -> dict[str, Cell]:
    """How large the row's model is, where the recipe shows that: with the classes that it is trained on where these are
    here, else with as many as the recipe says."""
    shown = bench.recipe.show.metrics
    features = bench.features.get(row.features_name) if row.runs else None
    classes = features.frame("train").select(CLASS).n_unique() if features else bench.recipe.classes
    found = parameters(row, classes) if set(PARAMETERS) & set(shown) else {}
    return {metric: Cell(value, None) for metric, value in found.items() if metric in shown}


def _by_column(row: Row, runs: list[Run], recipe: Recipe) -> dict[str, Values]:
    """A seed's values, of its run or its specialists."""
    show = recipe.show
    columns: dict[str, Values] = {}
    for index in show.indexes:
        of_index = oracle_scores(runs, show.protocol, index) if row.specialists else show.of(runs[0].scores.test, index)
        columns[show.column(MEAN, index)] = of_index.mean
        columns |= {
            show.column(recipe.columns.get(name, name), index): domain.values
            for name, domain in of_index.domains.items()
        }
    return columns


def _cells(scores: list[dict[str, Values]], column: str, metrics: Sequence[str]) -> dict[str, Cell]:
    cells = {}
    for metric in metrics:
        values = [100 * value for score in scores if (value := score[column][metric]) is not None]
        if values:
            std = statistics.stdev(values) if len(values) > 1 else None
            cells[metric] = Cell(statistics.fmean(values), std)
    return cells


def _notes(bench: Bench) -> list[str]:
    notes = []
    for name, features in bench.features.items():
        if not features.left_out.is_empty():
            examples = ", ".join(features.left_out["image"].unique().sort()[:3])
            notes.append(f"{name}: {len(features.left_out):,} rows left out, undecodable images: {examples}")
    nothing = {
        f"{domain}: {score.nothing_to_find:,} queries have nothing to find and are left out"
        for runs in bench.runs_of.values()
        for run in runs
        if run.done
        for domain, score in bench.recipe.show.of(run.scores.test, bench.recipe.show.indexes[0]).domains.items()
        if score.nothing_to_find
    }
    return notes + sorted(nothing) + _unknown_columns(bench)


def _unknown_columns(bench: Bench) -> list[str]:
    domains = bench.manifest.domains if bench.manifest else list(bench.recipe.columns)
    unknown = [domain for domain in bench.recipe.columns if domain not in domains]
    return [f"columns: '{name}' is no domain of {bench.recipe.data}; {nearest(name, domains)}" for name in unknown]
