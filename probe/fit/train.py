"""Fitting one head on cached features: training it with its loss, or fitting it in closed form, then scoring it.

The training features stay in memory on the device, as they are stored; a step gathers its rows. All randomness comes
from one generator seeded with the run's seed, so the same seed gives the same bits on the same machine.

    fitted = fit(config, features, device, on_epoch=lambda note: None)
    fitted.metrics["test"]["mean"]["mMP@5"]
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch
from torch import nn

from feature_cache import Spec
from probe.errors import ProbeError
from probe.extract.features import CachedFeatures, FeatureRows
from probe.fit.config import RunConfig, Training
from probe.fit.schedule import learning_rate
from probe.heads import config as heads
from probe.heads.build import build_head
from probe.heads.pca import PCAWhitening
from probe.losses.build import build_loss
from probe.retrieval.evaluation import Evaluation, evaluate

EMBED_ROWS = 16384
SELECTED_BY = "mMP@5"


@dataclass(frozen=True)
class Fitted:
    """The selected head, what it scores, and how it got there."""

    head: nn.Module
    spec: Spec
    in_dim: int
    metrics: dict[str, Any]
    per_query: pl.DataFrame
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(config: RunConfig, features: CachedFeatures, device: torch.device, on_epoch: Callable[[str], None]) -> Fitted:
    """Fits on the train split, selects the epoch by validation mMP@5, scores validation and test.

    `on_epoch` is called after each epoch with a short note for the progress display.
    Raises ProbeError when the loss stops being finite.
    """
    data = _Splits(features, device)
    generator = torch.Generator(device).manual_seed(config.seed)
    head = build_head(config.head, data.train.features.shape[1], generator).to(device)
    if config.trained:
        selected = _train(config, head, data, generator, on_epoch)
    else:
        selected = _fit_in_closed_form(config, head, data, generator)
        on_epoch("")
    test = data.score(data.test, selected.head)
    metrics = {
        "test": test.summary,
        "val": selected.val.summary,
        "dim": data.dim(selected.head),
        **selected.facts,
    }
    metrics |= {"training_images": len(data.train.frame), "left_out": len(features.left_out)}
    return Fitted(selected.head, features.spec, data.train.features.shape[1], metrics, test.per_query, selected.history)


@dataclass
class _Selected:
    head: nn.Module
    val: Evaluation
    facts: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


class _Splits:
    """The three splits, the training features on the device."""

    def __init__(self, features: CachedFeatures, device: torch.device) -> None:
        self.train, self.val, self.test = (features.split(name) for name in ("train", "val", "test"))
        self.device = device
        self.features = torch.from_numpy(self.train.features).to(device)  # (N, D), as stored
        classes = self.train.frame.select(pl.struct("domain", "label").rank("dense") - 1).to_series()
        self.labels = torch.from_numpy(classes.cast(pl.Int64).to_numpy().copy()).to(device)
        self.class_sizes = torch.bincount(self.labels)  # (C,)

    def dim(self, head: nn.Module) -> int:
        """Length of the head's embeddings."""
        with torch.inference_mode():
            return head.eval()(self.features[:1].float()).shape[1]

    def score(self, rows: FeatureRows, head: nn.Module) -> Evaluation:
        return evaluate(rows.frame, embed(head, rows, self.device))


def embed(head: nn.Module, rows: FeatureRows, device: torch.device) -> torch.Tensor:
    """(N, d) float32 embeddings of all rows, in eval mode, on the device."""
    head.eval()
    with torch.inference_mode():
        blocks = torch.from_numpy(rows.features).split(EMBED_ROWS)
        return torch.cat([head(block.to(device).float()) for block in blocks])


def _fit_in_closed_form(config: RunConfig, head: nn.Module, data: _Splits, generator: torch.Generator) -> _Selected:
    if isinstance(config.head, heads.PCAWhitening):
        rows = _rows_per_domain(data.train.frame, config.head.per_domain, generator)
        head = PCAWhitening.fit(data.features[rows], config.head.dim)
    return _Selected(head, data.score(data.val, head))


def _rows_per_domain(frame: pl.DataFrame, most: int, generator: torch.Generator) -> torch.Tensor:
    """At most `most` random rows of each domain (all of them for 0), sorted."""
    chosen = []
    for rows in frame.with_row_index("row").partition_by("domain", maintain_order=True):
        of_domain = torch.from_numpy(rows["row"].cast(pl.Int64).to_numpy().copy()).to(generator.device)
        if 0 < most < len(of_domain):
            of_domain = of_domain[torch.randperm(len(of_domain), generator=generator, device=generator.device)[:most]]
        chosen.append(of_domain)
    return torch.cat(chosen).sort().values


def _train(
    config: RunConfig,
    head: nn.Module,
    data: _Splits,
    generator: torch.Generator,
    on_epoch: Callable[[str], None],
) -> _Selected:
    assert config.training and config.loss, "RunConfig gives a trained head both"  # noqa: PT018
    loss = build_loss(config.loss, data.class_sizes, data.dim(head), generator).to(data.device)
    weights = [*head.parameters(), *loss.parameters()]
    optimizer = torch.optim.Adam(weights, weight_decay=config.training.weight_decay, fused=True)
    history, best = [], None
    for epoch in range(1, config.training.epochs + 1):
        record = _epoch(epoch, config.training, head, loss, data, optimizer, generator)
        val = data.score(data.val, head)
        history.append(record | {"val": val.summary["mean"]})
        if best is None or val.summary["mean"][SELECTED_BY] > best[1].summary["mean"][SELECTED_BY]:
            best = epoch, val, copy.deepcopy(head.state_dict())
        on_epoch(f"loss {record['loss']:.3f}, val {SELECTED_BY} {100 * val.summary['mean'][SELECTED_BY]:.1f}")
    assert best is not None, "there is at least one epoch"
    last = {"epoch": config.training.epochs, "val": val.summary, "test": data.score(data.test, head).summary}
    epoch, val, state = best
    head.load_state_dict(state)
    parameters = {name: sum(p.numel() for p in m.parameters()) for name, m in (("head", head), ("classes", loss))}
    facts = {"selected_epoch": epoch, "last": last, "parameters": parameters, "classes": len(data.class_sizes)}
    return _Selected(head, val, facts, history)


def _epoch(
    epoch: int,
    training: Training,
    head: nn.Module,
    loss: nn.Module,
    data: _Splits,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """One pass over all training images in a new random order; the last batch may be short."""
    head.train()
    order = torch.randperm(len(data.features), generator=generator, device=generator.device)
    batches = order.split(training.batch)
    total = torch.zeros((), device=data.device)
    rate = 0.0
    for number, rows in enumerate(batches):
        rate = learning_rate((epoch - 1) * len(batches) + number, len(batches), training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = loss(head(data.features[rows].float()), data.labels[rows])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        total += value.detach() * len(rows)
    mean = float(total) / len(order)
    if not mean < float("inf"):
        raise ProbeError(f"the loss is {mean} in epoch {epoch}; lower training.lr (now {training.lr}) or loss.margin.")
    return {"epoch": epoch, "loss": mean, "lr": rate}
