"""The folder that one evaluation leaves behind, whatever the embeddings are of; a finished evaluation is only read.

A folder is recognised by the key at the end of its name: the hash of what decides the numbers. It holds config.yaml,
metrics.json, per_query.parquet (merged index), per_query_separate.parquet, and neighbours.parquet and .json.

    found = evaluate_once(source, EvaluationSettings(split="test"), workspace.evaluations)
    found.scores.of("clean", "merged").mean["mMP@5"]
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from pydantic import BaseModel, NonNegativeInt, ValidationError

from feature_cache import fingerprint, polars_engine
from probe.errors import UsageError, first_line
from probe.evaluate.neighbours import NEIGHBOURS_FILE, write_neighbours
from probe.metrics import METRICS, SplitScores
from probe.runs import CONFIG, ScoredFolder, code_of, scoring_modules, write_scored
from probe.search import Distance
from probe.storage import new_folder
from probe.validation import describe, parse_yaml
from probe.workspace import file_name

if TYPE_CHECKING:
    import torch

    from probe.search import Vectors

NEIGHBOURS = 10


class EvaluationSettings(BaseModel, frozen=True):
    """How embeddings are scored."""

    split: str
    distance: Distance = "cosine"
    metrics: tuple[str, ...] = ()
    """Besides METRICS, with which everything is scored."""
    neighbours: NonNegativeInt = NEIGHBOURS
    """How many of each query are written; 0 for no such files."""

    @property
    def all_metrics(self) -> list[str]:
        return list(dict.fromkeys((*METRICS, *self.metrics)))


@dataclass(frozen=True)
class EmbeddingSource:
    """What is evaluated: a head, several as one, or a file of embeddings."""

    name: str
    """The beginning of the folder's name."""
    title: str
    """For people."""
    description: dict[str, Any]
    """What config.yaml says of it."""
    identity: dict[str, Any]
    """What decides its embeddings, and so is in the key."""
    embed: Callable[[], tuple[pl.DataFrame, "torch.Tensor | Vectors"]]
    """Manifest rows and, row by row, their (N, d) embeddings."""
    modules: frozenset[str] = frozenset()
    """Of the code that embeds, which is in the key too."""


class EvaluationFolder(ScoredFolder):
    """Of a finished evaluation."""

    remake = "evaluate again"

    @cached_property
    def settings(self) -> EvaluationSettings:
        file = self.sound(CONFIG)
        try:
            return EvaluationSettings.model_validate(parse_yaml(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            self._fail(file, describe(error, EvaluationSettings))
        except (OSError, ValueError) as error:
            self._fail(file, first_line(error))

    @cached_property
    def scores(self) -> SplitScores:
        return self._read_json(SplitScores)

    @cached_property
    def neighbours(self) -> pl.DataFrame:
        """(Q, 4) image, source, domain, neighbours: of each query a list of image, source, similarity, hit."""
        try:
            file = self.sound(NEIGHBOURS_FILE)
            with polars_engine():
                return pl.read_parquet(file)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UsageError(
                f"{self.path} has no neighbours that can be read ({first_line(error)}); evaluate with --neighbours."
            ) from error


def evaluate_once(source: EmbeddingSource, settings: EvaluationSettings, folder: Path) -> EvaluationFolder:
    """The evaluation below `folder`, made if it is not there."""
    written = settings.model_dump(mode="json") | {"metrics": settings.all_metrics}
    written["code"] = code_of([*scoring_modules(settings.all_metrics), *source.modules])
    key = fingerprint({"source": source.identity, **written})[:12]
    found = (EvaluationFolder(path) for path in sorted(folder.glob(f"*_{key}")))
    if done := next((each for each in found if each.done), None):
        return done
    path = folder / f"{file_name(source.name)}_{settings.split}_{key}"
    _evaluate(source, settings, path, source.description | written | {"sealed": True})
    return EvaluationFolder(path)


def _evaluate(source: EmbeddingSource, settings: EvaluationSettings, path: Path, config: dict[str, Any]) -> None:
    from probe.metrics import evaluate

    frame, vectors = source.embed()
    evaluation = evaluate(
        frame,
        vectors,
        distance=settings.distance,
        metrics=settings.all_metrics,
        neighbours=max(NEIGHBOURS, settings.neighbours),
    )
    with new_folder(path) as folder:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (folder / CONFIG).write_text(text, encoding="utf-8")
        if settings.neighbours:
            write_neighbours(evaluation.per_query["merged"], folder, settings.neighbours)
        write_scored(folder, evaluation.scores, evaluation.per_query)
