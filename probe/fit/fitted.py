"""Fitting one head on cached features: training it with its loss, or fitting it in closed form, then scoring it.

The same seed gives the same bits on the same machine with the same number of threads.

    data = FitData(features, device, feature_budget(device))
    fitted = fit(config, data)
    fitted.scores.test.of("clean", "merged").mean["mMP@5"]
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from feature_cache import Spec
from probe.fit.checkpoint import Checkpoint
from probe.fit.choice import OnNote, adopted, choose
from probe.fit.closed_form import fit_in_closed_form
from probe.fit.config import ClosedFormConfig, RunConfig, TrainedConfig
from probe.fit.data import FitData
from probe.fit.embedding import score, score_merged
from probe.fit.history import EpochRecord
from probe.fit.scores import LastEpoch, RunScores, Start
from probe.fit.trainer import OnEpoch, OnStep, Trainer, selection_value
from probe.heads import Head
from probe.metrics import METRICS, Evaluation, SplitScores
from probe.progress import OnProgress, silent


@dataclass(frozen=True)
class Fitted:
    """The selected head, what it scores, and how it got there."""

    head: Head

    spec: dict[str, Spec]
    """Of each store that it was fitted on."""

    in_dim: int
    """Length of the features."""

    scores: RunScores

    per_query: dict[str, pl.DataFrame]
    """By index."""

    history: list[EpochRecord] = field(default_factory=list)

    loss_state: dict[str, torch.Tensor] = field(default_factory=dict)
    """Of the selected epoch, without class matrices."""

    seconds: float = 0.0
    """Spent on it in all, before interruptions too."""

    seconds_a_step: float | None = None
    """Of training; None in closed form."""


def fit(
    config: RunConfig,
    data: FitData,
    checkpoint: Checkpoint | None = None,
    on_step: OnStep = lambda images: None,
    on_epoch: OnEpoch = lambda record: None,
    on_search: OnProgress = silent,
    on_note: OnNote = lambda text: None,
) -> Fitted:
    """Fits on the train split, selects the epoch on validation, scores test; a specialist on the train and validation
    images of its domain, which are the same features. A split that the configuration has no use for is not read.

    With a checkpoint, training goes on where an interrupted one stopped. Raises DivergedError, and UsageError for a
    head that these features cannot fit.
    """
    data = data.of_domain(config.domain)
    if isinstance(config, TrainedConfig):
        return _train(Trainer(config, data, checkpoint), on_step, on_epoch, on_search)
    start = time.monotonic()
    if config.head.chosen:
        return _fit_chosen(config, data, checkpoint, on_step, on_epoch, on_search, on_note)
    head = fit_in_closed_form(config, data)
    on_step(len(data.train))
    nothing = Evaluation({}, SplitScores({}))
    found = nothing if config.unscored else score(head, data.test, config.distance, on_search)
    return replace(_scored(head, data, {}, found), seconds=time.monotonic() - start)


def _fit_chosen(
    config: ClosedFormConfig,
    data: FitData,
    checkpoint: Checkpoint | None,
    on_step: OnStep,
    on_epoch: OnEpoch,
    on_search: OnProgress,
    on_note: OnNote,
) -> Fitted:
    """As the chosen configuration is fitted by itself."""
    start = time.monotonic()
    choice, chosen = choose(config, data, checkpoint, on_note)
    fitted = fit(chosen, data, checkpoint, on_step, on_epoch, on_search)
    head, scores = adopted(chosen, fitted.head, data), fitted.scores.model_copy(update={"choice": choice})
    return replace(fitted, head=head, scores=scores, seconds=time.monotonic() - start)


def _train(trainer: Trainer, on_step: OnStep, on_epoch: OnEpoch, on_search: OnProgress) -> Fitted:
    outcome, data, head = trainer.run(on_step, on_epoch), trainer.data, trainer.head
    begin = time.monotonic() - trainer.seconds
    last_test = score_merged(head, data.test, trainer.distance, METRICS, on_search)
    last = LastEpoch(epoch=trainer.plan.epochs, val=outcome.last, test=last_test)
    beaten = outcome.best.value > selection_value(outcome.start, trainer.training)
    head.load_state_dict(outcome.best.head)
    facts = {
        "val": outcome.best.val,
        "selected_epoch": outcome.best.epoch,
        "last": last,
        "start": Start(val=outcome.start, beaten=beaten),
        "parameters": trainer.objective.sizes(),
        "classes": len(data.class_sizes),
        "shuffled": "all" if data.window is None else f"windows of {data.window:,} rows",
    }
    fitted = _scored(head, data, facts, score(head, data.test, trainer.distance, on_search))
    return replace(
        fitted,
        history=trainer.history,
        loss_state=outcome.best.kept,
        seconds=time.monotonic() - begin,
        seconds_a_step=trainer.seconds_a_step,
    )


def _scored(head: Head, data: FitData, facts: dict[str, Any], test: Evaluation) -> Fitted:
    with torch.inference_mode():
        rows = data.test if len(data.test) else data.train
        dim = head(rows.take(np.zeros(1, np.int64)).float()).shape[1]
    images, left_out = len(data.train), len(data.features.left_out)
    scores = RunScores(test=test.scores, dim=dim, training_images=images, left_out=left_out, **facts)
    return Fitted(head, data.features.spec, data.train.dim, scores, test.per_query)
