"""The training loop: epochs over the cached features; after each a validation, which may select it, and a checkpoint.

A step gathers its rows and takes one forward pass, one backward pass and one fused update; nothing in it waits for the
device. The order of the images is a function of the seed and the step (order.py); what is left of randomness, the
initial weights and dropout, comes from one generator, whose state is kept with the checkpoint.

    trainer = Trainer(config, data, checkpoint)
    trainer.run(on_step, on_epoch)
    trainer.best.epoch, trainer.history
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from probe.errors import UsageError, nearest
from probe.fit.checkpoint import Checkpoint
from probe.fit.config import BALANCED, RunConfig, Training
from probe.fit.divergence import Watch
from probe.fit.embedding import score
from probe.fit.optimizer import build_optimizer, optimizer_tensors, restore_optimizer, set_rate
from probe.fit.order import Order
from probe.fit.placement import FitData
from probe.fit.schedule import Plan
from probe.heads import config as heads
from probe.heads.build import build_head
from probe.heads.linear import BatchNormLinear
from probe.losses.build import build_loss
from probe.retrieval.evaluation import domains_with_something_to_find

Tensors = dict[str, torch.Tensor]
OnStep = Callable[[int], None]  # images seen since the last call
OnEpoch = Callable[[dict[str, Any]], None]  # the epoch's line of the history


@dataclass(frozen=True)
class Selected:
    """An epoch as it was: its number, its value on validation, the validation's summary, head and loss state."""

    epoch: int
    value: float
    val: dict[str, Any]
    head: Tensors
    loss: Tensors


class Trainer:
    """One run from its seed, or from its checkpoint where there is one."""

    def __init__(self, config: RunConfig, data: FitData, checkpoint: Checkpoint | None = None) -> None:
        if config.training is None or config.loss is None or not isinstance(config.head, heads.Trained):
            raise ValueError("RunConfig gives a trained head both")
        self.training, self.data, self.checkpoint = config.training, data, checkpoint
        _require_domain(self.training, data)
        self.plan = Plan(self.training, len(data.train))
        self.order = Order(len(data.train), config.seed, data.window)
        self.generator = torch.Generator(data.device).manual_seed(config.seed)
        self.head = build_head(config.head, data.train.dim, self.generator).to(data.device)
        dim = heads.loss_dim(config.head)
        self.loss = build_loss(config.loss, data.class_sizes, dim, self.generator).to(data.device)
        self.optimizer = build_optimizer([*self.head.parameters(), *self.loss.parameters()], self.training)
        self.watch = Watch(self.training, math.log(len(data.class_sizes)), data.device)
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.best: Selected | None = None
        self.last: dict[str, Any] = {}
        if checkpoint is not None:
            self._resume(checkpoint)

    def run(self, on_step: OnStep, on_epoch: OnEpoch) -> Selected:
        """Trains what is left to train. Raises DivergedError. The head ends as the last epoch left it."""
        for epoch in range(len(self.history) + 1, self.plan.epochs + 1):
            start = time.monotonic()
            record = self._epoch(epoch, on_step)
            self._validate(epoch, record)
            self.seconds += time.monotonic() - start
            if self.checkpoint is not None:
                self.checkpoint.write(self._tensors(), self._state())
            on_epoch(self.history[-1])
        if self.best is None:
            raise ValueError("there is at least one epoch")
        return self.best

    def _epoch(self, epoch: int, on_step: OnStep) -> dict[str, Any]:
        self.head.train()
        for weight in self.head.parameters():
            weight.requires_grad_(epoch > self.training.freeze_head_epochs)
        step, samples = (epoch - 1) * self.plan.steps_per_epoch, self.plan.epoch_samples
        order = self.order.between((epoch - 1) * samples, epoch * samples)
        total, rate, seen = torch.zeros((), device=self.data.device), 0.0, 0
        for rows, features in self.data.train.batches(order, self.training.batch):
            rate = self.plan.learning_rate(step)
            set_rate(self.optimizer, rate)
            value = self.loss(self.head(features.float()), self.data.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.optimizer.step()
            total += value.detach() * len(rows)
            step, seen = step + 1, seen + len(rows)
            if self.watch.note(step - 1, rate, value):
                on_step(seen)
                seen = 0
        self.watch.check()
        on_step(seen)
        return {"epoch": epoch, "samples": epoch * samples, "loss": float(total) / samples, "lr": rate}

    def _validate(self, epoch: int, record: dict[str, Any]) -> None:
        """A later epoch has to be better to be selected; at a tie the earlier one stays."""
        if isinstance(self.head, BatchNormLinear) and len(rows := self.head.rows_to_fit(len(self.data.train))):
            self.head.refit(self.data.train.take(rows))
        self.last = score(self.head, self.data.val).summary
        self.history.append(record | {"val": self.last["mean"]})
        value = _selection_value(self.last, self.training)
        if self.best is None or value > self.best.value:
            head = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
            self.best = Selected(epoch, value, self.last, head, self._loss_state())

    def _loss_state(self) -> Tensors:
        """What a loss keeps beside its class matrix: t, statistics, a scale."""
        weights = {name for name, _ in self.loss.named_parameters()}
        state = self.loss.state_dict().items()
        return {name: tensor.detach().clone() for name, tensor in state if name not in weights}

    def _tensors(self) -> Tensors:
        if self.best is None:
            raise ValueError("a checkpoint comes after a validation")
        return {
            **_prefixed("head", self.head.state_dict()),
            **_prefixed("loss", self.loss.state_dict()),
            **_prefixed("optimizer", optimizer_tensors(self.optimizer)),
            **_prefixed("best-head", self.best.head),
            **_prefixed("best-loss", self.best.loss),
            "generator": self.generator.get_state(),
        }

    def _state(self) -> dict[str, Any]:
        if self.best is None:
            raise ValueError("a checkpoint comes after a validation")
        return {
            "history": self.history,
            "last": self.last,
            "best": {"epoch": self.best.epoch, "value": self.best.value, "val": self.best.val},
            "device": self.data.device.type,
            "window": self.order.window,
            "start": self.watch.start,
            "seconds": self.seconds,
        }

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Goes on after the last epoch that was finished, unless on another device or with rows shuffled otherwise."""
        checkpoint.drop_unless(self.data.device.type, self.order.window)
        found = checkpoint.read()
        if found is None:
            return
        tensors, state = found
        self.head.load_state_dict(_section(tensors, "head"))
        self.loss.load_state_dict(_section(tensors, "loss"))
        restore_optimizer(self.optimizer, _section(tensors, "optimizer"))
        self.generator.set_state(tensors["generator"])
        self.history, self.last, self.seconds = state["history"], state["last"], state["seconds"]
        self.watch.start = state["start"]
        best_head, best_loss = (
            {name: tensor.to(self.data.device) for name, tensor in _section(tensors, part).items()}
            for part in ("best-head", "best-loss")
        )
        self.best = Selected(**state["best"], head=best_head, loss=best_loss)


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _section(tensors: Tensors, prefix: str) -> Tensors:
    return {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _selection_value(summary: dict[str, Any], training: Training) -> float:
    """The validation metric that selects, balanced over the domains or of one."""
    chosen = summary["mean"] if training.select_on == BALANCED else summary["domains"][training.select_on]
    return chosen[training.select_by]


def _require_domain(training: Training, data: FitData) -> None:
    domains = data.val.frame["domain"].unique().to_list()
    if training.select_on not in (BALANCED, *domains):
        raise UsageError(
            f"training.select_on: validation has no domain '{training.select_on}'; "
            f"{nearest(training.select_on, [BALANCED, *domains])}"
        )
    if training.select_on not in (BALANCED, *domains_with_something_to_find(data.val.frame)):
        raise UsageError(
            f"training.select_on: no validation query of '{training.select_on}' has anything to find; name another."
        )
