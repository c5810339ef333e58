"""The training loop: epochs over the cached features; after each a validation, which may select it, and a checkpoint.

A step gathers its rows and takes one forward pass, one backward pass (with `sharpness` two of each, sharpness.py) and
one fused update; nothing in it waits for the device. What is minimised is an objective (objective.py); the sampler
decides which images come when (sampler.py). The rest of randomness, initial weights and dropout, is of one generator,
whose state is kept with the checkpoint.

    trainer = Trainer(config, data, checkpoint)
    trainer.run(on_step, on_epoch)
    trainer.best.epoch, trainer.history
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from probe.fit.build import build_objective
from probe.fit.config import BALANCED, RunConfig, Training
from probe.fit.data import FitData
from probe.fit.divergence import Watch
from probe.fit.domains import require_selection
from probe.fit.embedding import score_merged
from probe.fit.objective import Tensors
from probe.fit.optimizer import build_optimizer, hold_gradients, optimizer_tensors, restore_optimizer, set_rate
from probe.fit.sampler import Stretch, build_sampler
from probe.fit.schedule import Plan
from probe.fit.sharpness import Ascent
from probe.runs.checkpoint import Checkpoint
from probe.search.search import Distance

OnStep = Callable[[int], None]  # images seen since the last call
OnEpoch = Callable[[dict[str, Any]], None]  # the epoch's line of the history


@dataclass(frozen=True)
class Selected:
    """An epoch as it was: its number, its value on validation, the validation's summary, the head's state, and what the
    objective keeps beside it."""

    epoch: int
    value: float
    val: dict[str, Any]
    head: Tensors
    kept: Tensors


class Trainer:
    """One run from its seed, or from its checkpoint where there is one."""

    def __init__(self, config: RunConfig, data: FitData, checkpoint: Checkpoint | None = None) -> None:
        if config.training is None:
            raise ValueError("a head that is not trained has no trainer")
        self.training, self.data, self.checkpoint = config.training, data, checkpoint
        self.distance: Distance = config.distance
        require_selection(self.training, data.val.frame)
        self.plan = Plan(self.training, len(data.train))
        self.sampler = build_sampler(self.training, self.plan, data, config.seed)
        self.generator = torch.Generator(data.device).manual_seed(config.seed)
        self.objective = build_objective(config, data, self.generator)
        self.head = self.objective.head
        self.optimizer = build_optimizer(self.objective.parameters(), self.training)
        self._skip_inactive = self.training.inactive != "zero-gradients"
        if not self._skip_inactive:
            hold_gradients(self.objective, but=self.head)
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
        self.objective.train()
        for weight in self.head.parameters():
            weight.requires_grad_(epoch > self.training.freeze_head_epochs)
        step, rate, seen = (epoch - 1) * self.plan.steps_per_epoch, 0.0, 0
        total, of_domains = torch.zeros((), device=self.data.device), DomainLosses(self.data.domains)
        parts: Tensors = {}
        for stretch in self.sampler.stretches(epoch):
            noted = torch.zeros(2, len(stretch.domains), device=self.data.device)  # losses and difficulties
            batches = self.data.train.batches(stretch.rows, self.training.batch)
            for at, ((rows, features), domain) in enumerate(zip(batches, stretch.domains, strict=True)):
                rate = self.plan.learning_rate(step)
                value, terms, difficulty = self._step(rate, features.float(), self.data.labels[rows], domain)
                total += value * len(rows)
                for name, part in terms.items():
                    parts[name] = parts.get(name, 0) + part * len(rows)
                if domain is not None:
                    noted[0, at], noted[1, at] = value, difficulty
                step, seen = step + 1, seen + len(rows)
                if self.watch.note(step - 1, rate, value):
                    on_step(seen)
                    seen = 0
            self.watch.check()
            losses, difficulties = noted.tolist()
            self.sampler.observe(stretch, difficulties)
            of_domains.add(stretch, losses)
        on_step(seen)
        samples = self.plan.epoch_samples
        record = {"epoch": epoch, "samples": epoch * samples, "loss": float(total) / samples, "lr": rate}
        record |= {"parts": {name: float(part) / samples for name, part in parts.items()}} if parts else {}
        return record | of_domains.record()

    def _step(
        self, rate: float, features: torch.Tensor, labels: torch.Tensor, domain: int | None
    ) -> tuple[torch.Tensor, Tensors, torch.Tensor]:
        """One update; the loss before it, without its graph, its parts, and the batch's difficulty."""
        set_rate(self.optimizer, rate)
        radius = self.training.sharpness
        ascent = Ascent(self.objective, self.generator, radius) if radius else None
        value = self.objective(features, labels, domain)
        parts, difficulty = self.objective.parts(), self.objective.difficulty(value)
        self.optimizer.zero_grad(set_to_none=self._skip_inactive)
        value.backward()
        if ascent:
            ascent.replace_gradients(features, labels, domain)
        self.optimizer.step()
        return value.detach(), parts, difficulty

    def _validate(self, epoch: int, record: dict[str, Any]) -> None:
        """A later epoch has to be better to be selected; at a tie the earlier one stays."""
        self.head.after_epoch(len(self.data.train), self.data.train.take)
        self.last = score_merged(self.head, self.data.val, self.distance)
        self.history.append(record | {"val": self.last["mean"]})
        value = _selection_value(self.last, self.training)
        if self.best is None or value > self.best.value:
            head = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
            kept = {name: tensor.detach().clone() for name, tensor in self.objective.kept().items()}
            self.best = Selected(epoch, value, self.last, head, kept)

    def _tensors(self) -> Tensors:
        if self.best is None:
            raise ValueError("a checkpoint comes after a validation")
        return {
            **_prefixed("objective", self.objective.state_dict()),
            **_prefixed("optimizer", optimizer_tensors(self.optimizer)),
            **_prefixed("best-head", self.best.head),
            **_prefixed("best-kept", self.best.kept),
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
            "window": self.data.window,
            "sampler": self.sampler.state(),
            "start": self.watch.start,
            "seconds": self.seconds,
        }

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Goes on after the last epoch that was finished, unless on another device or with rows shuffled otherwise."""
        checkpoint.drop_unless(self.data.device.type, self.data.window)
        found = checkpoint.read()
        if found is None:
            return
        tensors, state = found
        self.objective.load_state_dict(_section(tensors, "objective"))
        self.sampler.restore(state["sampler"])
        restore_optimizer(self.optimizer, _section(tensors, "optimizer"))
        self.generator.set_state(tensors["generator"])
        self.history, self.last, self.seconds = state["history"], state["last"], state["seconds"]
        self.watch.start = state["start"]
        best_head, best_kept = (
            {name: tensor.to(self.data.device) for name, tensor in _section(tensors, part).items()}
            for part in ("best-head", "best-kept")
        )
        self.best = Selected(**state["best"], head=best_head, kept=best_kept)


class DomainLosses:
    """Steps and mean loss of each domain in an epoch of single-domain batches."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sums, self._steps = [0.0] * len(names), [0] * len(names)

    def add(self, stretch: Stretch, losses: Sequence[float]) -> None:
        for number, loss in zip(stretch.domains, losses, strict=True):
            if number is not None:
                self._sums[number] += loss
                self._steps[number] += 1

    def record(self) -> dict[str, Any]:
        """`domains` of the epoch's line in the history; nothing where batches were mixed."""
        found = zip(self._names, self._steps, self._sums, strict=True)
        lines = {name: {"steps": n, "loss": total / n if n else None} for name, n, total in found}
        return {"domains": lines} if any(self._steps) else {}


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _section(tensors: Tensors, prefix: str) -> Tensors:
    return {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _selection_value(summary: dict[str, Any], training: Training) -> float:
    """The validation metric that selects, balanced over the domains or of one."""
    chosen = summary["mean"] if training.select_on == BALANCED else summary["domains"][training.select_on]
    return chosen[training.select_by]
