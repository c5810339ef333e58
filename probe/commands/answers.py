"""What commands answer with `--json`: one object on standard output, of the form that docs/json.md describes.

A key that is there stays, with its meaning; `version` is raised where that cannot be. Scores are in percent, times in
seconds, sizes in bytes; what is not known is null.

    print_json(TablesAnswer(tables=[table_answer(table)]))
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from pydantic import BaseModel

from probe.backbones import Backbone, weights_state
from probe.data import Dataset, Manifest, StatisticsTable, class_sizes

if TYPE_CHECKING:  # they load PyTorch, which listings do without
    from feature_cache import Listed
    from probe.evaluate import EvaluationFolder
    from probe.metrics import PairedDifference
    from probe.planning import Plan
    from probe.report import Table

Range = tuple[float, float]


class Answer(BaseModel):
    """Of any command."""

    version: Literal[1] = 1


class ValueAnswer(BaseModel):
    """A row's metric in a column."""

    column: str
    metric: str
    measured: float | None
    text: str | None
    """In the place of a number, in tables of settings."""
    std: float | None
    """Over the seeds."""
    interval: Range | None
    """95 %, over the queries."""
    standing: list[str]
    """`best`, `worst`, `best of group`, `tied`: not told from the best by a paired test."""
    printed: float | None
    printed_text: str | None
    printed_std: float | None
    difference: float | None
    """Measured minus printed, in points."""


class RowAnswer(BaseModel):
    name: str
    group: str
    dim: int | None
    seeds: int
    """Finished."""
    planned_seeds: int
    compared: str | None
    """How it relates to the printed row."""
    values: list[ValueAnswer]


class CommandAnswer(BaseModel):
    """What is to be run."""

    command: str
    seconds: float | None


class TableAnswer(BaseModel):
    name: str
    title: str
    columns: list[str]
    rows: list[RowAnswer]
    notes: list[str]
    missing: list[str]
    stale: list[str]
    commands: list[CommandAnswer]
    """That complete it."""


class TablesAnswer(Answer):
    """`probe table`, and the table of `probe fit`."""

    tables: list[TableAnswer]


class ScoreAnswer(BaseModel):
    """One metric of a domain, or of `Mean`."""

    index: str
    protocol: str
    domain: str
    metric: str
    value: float | None
    interval: Range | None
    """95 %, by the clean protocol."""
    queries: int | None
    nothing_to_find: int | None
    """Queries that are left out."""


class EvaluationAnswer(Answer):
    """`probe evaluate`."""

    title: str
    data: str
    split: str
    folder: Path
    scores: list[ScoreAnswer]


class DifferenceAnswer(BaseModel):
    domain: str
    a: float
    b: float
    difference: float
    """a - b, in points."""
    interval: Range
    p: float
    p_holm: float
    """Corrected over the domains; of Mean, its own."""


class ComparisonAnswer(Answer):
    """`probe compare`, and its `--save`."""

    metric: str
    index: str
    a: list[str]
    b: list[str]
    domains: list[DifferenceAnswer]


class BackboneAnswer(BaseModel):
    name: str
    family: str
    library: str
    model: str
    feature: str | None
    px: int
    dim: int | None
    params: int | None
    papers: list[str]
    weights: str
    """`cached`, `fetch`, `file` or `none`, as in the listing."""


class BackbonesAnswer(Answer):
    """`probe backbones`."""

    backbones: list[BackboneAnswer]


class CountAnswer(BaseModel):
    """A published count."""

    split: str
    role: str
    domain: str | None
    images: int
    classes: int | None


class DatasetAnswer(BaseModel):
    name: str
    title: str
    domain: str | None
    home: str | None
    licence: str | None
    missing: list[str]
    """Annotation files that are not here."""
    images: dict[str, Path | None]
    """By source, where they lie."""
    published: list[CountAnswer]


class DatasetsAnswer(Answer):
    """`probe data list`."""

    data_sets: list[DatasetAnswer]


class SizesAnswer(BaseModel):
    """Of a domain's split."""

    data: str
    domain: str
    split: str
    images: int
    classes: int
    least: int
    median: float
    most: int
    """Images of a class."""


class StatisticsAnswer(BaseModel):
    """A printed row, and what was counted."""

    table: str
    row: str
    split: str | None
    state: str
    printed: dict[str, int | str]
    measured: dict[str, int | str] | None


class CountsAnswer(Answer):
    """`probe data stats`."""

    sizes: list[SizesAnswer]
    statistics: list[StatisticsAnswer]


class StoreAnswer(BaseModel):
    name: str
    file: Path
    images: int | None
    failed: int | None
    dim: int | None
    dtype: str | None
    fingerprint: str | None
    bytes: int
    parts: int
    """To be merged."""
    problem: str | None


class StoresAnswer(Answer):
    """`probe cache list`."""

    stores: list[StoreAnswer]


class StepAnswer(CommandAnswer):
    bytes: int | None
    tables: list[str]
    completes: list[str]


class PlanAnswer(Answer):
    """`probe plan`."""

    machine: str
    missing: list[str]
    steps: list[StepAnswer]


ANSWERS = (
    TablesAnswer,
    EvaluationAnswer,
    ComparisonAnswer,
    BackbonesAnswer,
    DatasetsAnswer,
    CountsAnswer,
    StoresAnswer,
    PlanAnswer,
)


def as_json(answer: Answer) -> str:
    """In ASCII, whatever the terminal's encoding."""
    return json.dumps(answer.model_dump(mode="json"), indent=2, allow_nan=False)


def print_json(answer: Answer) -> None:
    typer.echo(as_json(answer))


def table_answer(table: "Table") -> TableAnswer:
    from probe.report import entries

    rows = []
    for row in table.lines:
        values = [
            ValueAnswer(
                column=column,
                metric=entry.metric,
                measured=_number(entry.measured and entry.measured.mean),
                text=entry.measured and entry.measured.text,
                std=_number(entry.measured and entry.measured.std),
                interval=entry.interval,
                standing=list(entry.standing),
                printed=_number(entry.printed and entry.printed.value),
                printed_text=entry.printed and entry.printed.text,
                printed_std=_number(entry.printed and entry.printed.std),
                difference=_number(entry.difference),
            )
            for column, entry in entries(table, row)
            if entry.measured or entry.printed
        ]
        rows.append(
            RowAnswer(
                name=row.name,
                group=row.group,
                dim=row.dim,
                seeds=row.done,
                planned_seeds=row.planned,
                compared=row.relation.compared,
                values=values,
            )
        )
    return TableAnswer(
        name=table.recipe.name,
        title=table.recipe.title,
        columns=table.columns,
        rows=rows,
        notes=[*table.reasons, *table.notes],
        missing=table.missing,
        stale=table.stale,
        commands=[
            CommandAnswer(command=command, seconds=time.seconds if (time := table.times.get(command)) else None)
            for command in table.commands
        ],
    )


def evaluation_answer(
    title: str,
    data: str,
    found: "EvaluationFolder",
    metrics: Sequence[str],
    indexes: Sequence[str],
    protocols: Sequence[str],
) -> EvaluationAnswer:
    scores = [score for index in indexes for score in _scores(found, metrics, index, protocols)]
    return EvaluationAnswer(title=title, data=data, split=found.settings.split, folder=found.path, scores=scores)


def _scores(
    found: "EvaluationFolder", metrics: Sequence[str], index: str, protocols: Sequence[str]
) -> Iterator[ScoreAnswer]:
    from probe.metrics import MEAN, intervals

    for protocol in protocols:
        scores = found.scores.of(protocol, index)
        for metric in [metric for metric in metrics if metric in scores.mean]:
            bounds = intervals(found.per_query(index), metric) if protocol == "clean" else {}
            for domain in [*scores.domains, MEAN]:
                of_domain = scores.domains.get(domain)
                yield ScoreAnswer(
                    index=index,
                    protocol=protocol,
                    domain=domain,
                    metric=metric,
                    value=_percent(of_domain.values[metric] if of_domain else scores.mean[metric]),
                    interval=_percents(bounds[domain]) if domain in bounds else None,
                    queries=of_domain and of_domain.queries,
                    nothing_to_find=of_domain and of_domain.nothing_to_find,
                )


def comparison_answer(
    metric: str, index: str, a: list[str], b: list[str], differences: Mapping[str, "PairedDifference"]
) -> ComparisonAnswer:
    from probe.metrics import MEAN

    domains = [
        DifferenceAnswer(
            domain=domain,
            a=100 * found.first,
            b=100 * found.second,
            difference=100 * found.difference,
            interval=_percents(found.interval),
            p=found.p,
            p_holm=found.p_holm,
        )
        for domain, found in sorted(differences.items(), key=lambda item: item[0] == MEAN)
    ]
    return ComparisonAnswer(metric=metric, index=index, a=a, b=b, domains=domains)


def backbones_answer(backbones: Sequence[Backbone]) -> BackbonesAnswer:
    found = [
        BackboneAnswer(
            name=backbone.name,
            family=backbone.row.family,
            library=backbone.row.library,
            model=backbone.row.model,
            feature=backbone.row.feature if backbone.needs_weights else None,
            px=backbone.row.px,
            dim=backbone.row.dim,
            params=backbone.row.params,
            papers=list(backbone.row.papers),
            weights=weights_state(backbone),
        )
        for backbone in backbones
    ]
    return BackbonesAnswer(backbones=found)


def datasets_answer(datasets: Sequence[Dataset], data_root: Path) -> DatasetsAnswer:
    found = [
        DatasetAnswer(
            name=dataset.name,
            title=dataset.row.title,
            domain=dataset.row.domain,
            home=dataset.row.home,
            licence=dataset.row.licence,
            missing=list(map(str, dataset.missing(data_root))),
            images={source: dataset.catalogue.sources[source].root(data_root) for source in dataset.sources},
            published=[
                CountAnswer(
                    split=count.split,
                    role=count.role,
                    domain=count.domain,
                    images=count.images,
                    classes=count.classes,
                )
                for count in dataset.counts
            ],
        )
        for dataset in datasets
    ]
    return DatasetsAnswer(data_sets=found)


def counts_answer(manifests: Mapping[str, Manifest], tables: Sequence[StatisticsTable]) -> CountsAnswer:
    sizes = [
        SizesAnswer(data=name, **row)
        for name, manifest in manifests.items()
        for row in class_sizes(manifest).iter_rows(named=True)
    ]
    statistics = [
        StatisticsAnswer(
            table=table.printed.title,
            row=row.printed.name,
            split=row.printed.split,
            state=row.state,
            printed=dict(zip(map(str, table.printed.columns), row.printed.printed, strict=False)),
            measured=None if row.measured is None else {str(column): value for column, value in row.measured.items()},
        )
        for table in tables
        for row in table.rows
    ]
    return CountsAnswer(sizes=sizes, statistics=statistics)


def stores_answer(found: Mapping[str, "Listed"]) -> StoresAnswer:
    """`found`: by name."""
    stores = [
        StoreAnswer(
            name=name,
            file=listed.path,
            images=len(store) if store is not None else None,
            failed=len(store.failed) if store is not None else None,
            dim=store.dim if store is not None else None,
            dtype=str(store.dtype) if store is not None else None,
            fingerprint=store.fingerprint if store is not None else None,
            bytes=listed.bytes,
            parts=listed.parts,
            problem=listed.problem or None,
        )
        for name, listed in found.items()
        for store in [listed.store]
    ]
    return StoresAnswer(stores=stores)


def plan_answer(plan: "Plan", machine: str) -> PlanAnswer:
    steps = [
        StepAnswer(
            command=step.command,
            seconds=step.time.seconds if step.time else None,
            bytes=step.bytes,
            tables=sorted(step.tables),
            completes=list(step.completes),
        )
        for step in plan.steps
    ]
    return PlanAnswer(machine=machine, missing=plan.missing, steps=steps)


def _number(value: Any) -> float | None:
    """None for what is a text alone."""
    return float(value) if value is not None and math.isfinite(value) else None


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _percents(interval: Range) -> Range:
    return 100 * interval[0], 100 * interval[1]
