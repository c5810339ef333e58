"""The folder that one evaluation leaves behind, whatever the embeddings are of; what was scored before is only read.

A folder is recognised by the key at the end of its name: the hash of what decides the numbers. It holds config.yaml,
metrics.json, per_query.parquet (merged index), per_query_separate.parquet, and neighbours.parquet and .json.

    result = scored(subject, Question("test"), workspace.evaluations)
    result.scores.of("clean", "merged").mean["mMP@5"]
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from feature_cache import fingerprint
from probe.metrics import METRICS, SplitScores
from probe.runs import ScoredFolder, code_of
from probe.runs.code import SCORING, modules_of_metrics
from probe.runs.scored import write_scored
from probe.search import Distance
from probe.storage import new_folder
from probe.workspace import file_name

if TYPE_CHECKING:
    import torch

    from probe.search import Vectors

NEIGHBOURS = 10


@dataclass(frozen=True)
class Question:
    """What is asked: of which `split`, by which `distance`, metrics besides those that every evaluation has, and how
    many `neighbours` of each query to write (0: no such files)."""

    split: str
    distance: Distance = "cosine"
    metrics: tuple[str, ...] = ()
    neighbours: int = NEIGHBOURS

    @property
    def all_metrics(self) -> list[str]:
        return list(dict.fromkeys((*METRICS, *self.metrics)))


@dataclass(frozen=True)
class Subject:
    """What is scored. `name` and `title` are for people, the name that of its folder; `shown` is what config.yaml says
    of it, `identity` what decides its numbers; `embed` gives manifest rows and, row by row, their vectors."""

    name: str
    title: str
    shown: dict[str, Any]
    identity: dict[str, Any]
    embed: Callable[[], tuple[pl.DataFrame, "torch.Tensor | Vectors"]]
    modules: tuple[str, ...] = ()
    """Of the code that embeds."""


class Result(ScoredFolder):
    """A folder that an evaluation has filled."""

    remake = "evaluate again"

    @cached_property
    def scores(self) -> SplitScores:
        """Raises UsageError when they are damaged."""
        return self._read_scores(SplitScores)


def scored(subject: Subject, question: Question, folder: Path) -> Result:
    """The result in `folder`, made if it is not there."""
    settings = {
        "split": question.split,
        "distance": question.distance,
        "metrics": question.all_metrics,
        "neighbours": question.neighbours,
        "code": code_of([SCORING, *modules_of_metrics(question.all_metrics), *subject.modules]),
    }
    key = fingerprint({"subject": subject.identity, **settings})[:12]
    done = sorted(path for path in folder.glob(f"*_{key}") if (path / "metrics.json").exists())
    if done:
        return Result(done[0])
    path = folder / f"{file_name(subject.name)}_{question.split}_{key}"
    _score(subject, question, path, subject.shown | settings)
    return Result(path)


def _score(subject: Subject, question: Question, path: Path, config: dict[str, Any]) -> None:
    from probe.evaluate.neighbours import write_neighbours
    from probe.metrics import evaluate

    frame, vectors = subject.embed()
    evaluation = evaluate(
        frame,
        vectors,
        distance=question.distance,
        metrics=question.all_metrics,
        neighbours=max(NEIGHBOURS, question.neighbours),
    )
    with new_folder(path) as folder:
        (folder / "config.yaml").write_text(
            yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
        if question.neighbours:
            write_neighbours(evaluation.per_query["merged"], folder, question.neighbours)
        write_scored(folder, evaluation.scores.model_dump(), evaluation.per_query)
