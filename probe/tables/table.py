"""A table: what a recipe's runs measured, row by row, beside what the paper printed. It computes nothing else.

table = build_table(Bench(recipe, workspace))
table.rows[0].cells["Mean"]["mMP@5"].mean
"""

import statistics
from dataclasses import dataclass, field
from typing import Any

from probe.retrieval.metrics import METRICS
from probe.tables.bench import Bench
from probe.tables.recipe import Recipe, Row
from probe.tables.reference import MEAN
from probe.tables.significance import Significance, judge


@dataclass(frozen=True)
class Cell:
    """A metric in percent: its mean over the seeds, and their standard deviation where there are several."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class TableRow:
    """`cells[column][metric]`, empty until something is measured; `done` of `planned` runs."""

    name: str
    dim: int | None
    done: int
    planned: int
    cells: dict[str, dict[str, Cell]]
    printed: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Table:
    """`columns`: Mean, then the domains. `missing` says why rows are empty, `needs` the commands that fill them.

    `significance`: by metric, of rows that have measured values.
    """

    recipe: Recipe
    columns: list[str]
    rows: list[TableRow]
    missing: list[str]
    needs: list[str]
    notes: list[str]
    significance: dict[str, Significance] = field(default_factory=dict)


def build_table(bench: Bench) -> Table:
    """Reads the finished runs; what is not measured is said, with the command to run."""
    recipe = bench.recipe
    rows = [_row(row, bench) for row in recipe.rows]
    domains = bench.manifest.domains if bench.manifest else _printed_domains(recipe)
    needs = list(bench.needs)
    if any(run for runs in bench.runs_of.values() for run in runs if not run.done):
        needs.append(bench.fit_command)
    significance = {metric: found for metric in METRICS if (found := _significance(rows, bench, metric))}
    notes = dict.fromkeys(note for found in significance.values() for note in found.notes)
    return Table(recipe, [MEAN, *domains], rows, bench.missing, needs, [*_notes(bench), *notes], significance)


def _significance(rows: list[TableRow], bench: Bench, metric: str) -> Significance | None:
    means = {row.name: row.cells[MEAN][metric].mean for row in rows if metric in row.cells.get(MEAN, {})}
    if not means:
        return None
    folders = {row: [run.path for run in bench.runs_of[row] if run.done] for row in means}
    measured = {row: paths for row, paths in folders.items() if paths}
    return judge(measured, max(means, key=lambda row: means[row]), metric, "merged")


def _row(row: Row, bench: Bench) -> TableRow:
    metrics = [run.metrics for run in bench.runs_of[row.name] if run.done]
    printed = bench.recipe.reference.rows[row.printed] if bench.recipe.reference and row.printed else {}
    scores = [{MEAN: found["test"]["mean"]} | found["test"]["domains"] for found in metrics]
    cells = {column: _cells(scores, column) for column in scores[0]} if scores else {}
    return TableRow(row.name, metrics[0]["dim"] if metrics else None, len(metrics), len(row.runs), cells, printed)


def _cells(scores: list[dict[str, Any]], column: str) -> dict[str, Cell]:
    cells = {}
    for metric in METRICS:
        values = [100 * score[column][metric] for score in scores if score[column][metric] is not None]
        if values:
            std = statistics.stdev(values) if len(values) > 1 else None
            cells[metric] = Cell(statistics.fmean(values), std)
    return cells


def _printed_domains(recipe: Recipe) -> list[str]:
    rows = recipe.reference.rows.values() if recipe.reference else []
    return list(dict.fromkeys(column for row in rows for column in row if column != MEAN))


def _notes(bench: Bench) -> list[str]:
    notes = []
    for name, features in bench.features.items():
        if not features.left_out.is_empty():
            examples = ", ".join(features.left_out["image"].unique().sort()[:3])
            notes.append(f"{name}: {len(features.left_out):,} rows left out, undecodable images: {examples}")
    nothing = {
        f"{domain}: {score['nothing_to_find']:,} queries have nothing to find and are left out"
        for runs in bench.runs_of.values()
        for run in runs
        if run.done
        for domain, score in run.metrics["test"]["domains"].items()
        if score["nothing_to_find"]
    }
    return notes + sorted(nothing)
