"""Fitting one head on cached features: training it with its loss, or fitting it in closed form, then scoring it.

The same seed gives the same bits on the same machine with the same number of threads.

    data = FitData(features, device, feature_budget(device))
    fitted = fit(config, data)
    fitted.metrics["test"]["clean"]["merged"]["mean"]["mMP@5"]
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from feature_cache import Spec
from probe.fit.config import RunConfig
from probe.fit.data import FitData
from probe.fit.embedding import score, score_merged
from probe.fit.trainer import OnEpoch, OnStep, Trainer
from probe.heads import ClosedFormHead, Head, build_head
from probe.metrics.evaluation import Evaluation
from probe.metrics.metric import METRICS
from probe.progress import Report, silent
from probe.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class Fitted:
    """The selected head, what it scores, and how it got there.

    `per_query`: by index. `loss_state`: of the selected epoch, without class matrices. `seconds`: spent on it in all.
    """

    head: nn.Module
    spec: dict[str, Spec]
    in_dim: int
    metrics: dict[str, Any]
    per_query: dict[str, pl.DataFrame]
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_state: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0


def fit(
    config: RunConfig,
    data: FitData,
    checkpoint: Checkpoint | None = None,
    on_step: OnStep = lambda images: None,
    on_epoch: OnEpoch = lambda record: None,
    on_search: Report = silent,
) -> Fitted:
    """Fits on the train split, selects the epoch on validation, scores validation and test; a specialist on the train
    and validation images of its domain, which are the same features.

    With a checkpoint, training goes on where an interrupted one stopped. Raises DivergedError, and UsageError for a
    head that these features cannot fit.
    """
    data = data.of_domain(config.domain)
    if config.trained:
        return _train(Trainer(config, data, checkpoint), on_step, on_epoch, on_search)
    start = time.monotonic()
    head = _fit_in_closed_form(config, data)
    on_step(len(data.train))
    val = score_merged(head, data.val, config.distance)
    fitted = _scored(head, data, val, {}, score(head, data.test, config.distance, on_search))
    return replace(fitted, seconds=time.monotonic() - start)


def _train(trainer: Trainer, on_step: OnStep, on_epoch: OnEpoch, on_search: Report) -> Fitted:
    best, data = trainer.run(on_step, on_epoch), trainer.data
    head = trainer.head
    last_test = score_merged(head, data.test, trainer.distance, METRICS, on_search)
    last = {"epoch": trainer.plan.epochs, "val": trainer.last, "test": last_test}
    head.load_state_dict(best.head)
    facts = {
        "selected_epoch": best.epoch,
        "last": last,
        "parameters": trainer.objective.sizes(),
        "classes": len(data.class_sizes),
        "shuffled": "all" if data.window is None else f"windows of {data.window:,} rows",
    }
    fitted = _scored(head, data, best.val, facts, score(head, data.test, trainer.distance, on_search))
    return replace(fitted, history=trainer.history, loss_state=best.kept, seconds=trainer.seconds)


def _fit_in_closed_form(config: RunConfig, data: FitData) -> Head:
    generator = torch.Generator(data.device).manual_seed(config.seed)
    head = build_head(config.head, data.train.dim, generator).to(data.device)
    if not isinstance(head, ClosedFormHead) or not isinstance(config.head, ClosedFormHead.Config):
        raise ValueError("a trained head has a trainer")
    rows = config.head.rows_to_fit(_rows_of_domains(data.train.frame), generator)
    return head.fit(data.train.take(rows)) if len(rows) else head


def _scored(head: nn.Module, data: FitData, val: dict[str, Any], facts: dict[str, Any], test: Evaluation) -> Fitted:
    with torch.inference_mode():
        dim = head(data.train.take(np.zeros(1, np.int64)).float()).shape[1]
    metrics = {"test": test.summary, "val": val, "dim": dim, **facts}
    metrics |= {"training_images": len(data.train), "left_out": len(data.features.left_out)}
    return Fitted(head, data.features.spec, data.train.dim, metrics, test.per_query)


def _rows_of_domains(frame: pl.DataFrame) -> list[np.ndarray]:
    """The rows of each domain, ascending, in the order in which the domains appear."""
    parts = frame.with_row_index("row").partition_by("domain", maintain_order=True)
    return [part["row"].to_numpy().astype(np.int64) for part in parts]
