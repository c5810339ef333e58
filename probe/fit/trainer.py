"""The training loop: epochs over the cached features; after each a validation, which may select it, and a checkpoint.

The head is validated before the first epoch too. An epoch is selected only if the head has been trained by its end.

A step gathers its rows and takes one forward pass, one backward pass (with `sharpness` two of each, sharpness.py) and
one fused update; nothing in it waits for the device. What is minimized is an objective (objective.py); the sampler
decides which images come when (samplers/). The rest of randomness, initial weights and dropout, is of one generator,
whose state is kept with the checkpoint.

    trainer = Trainer(config, data, checkpoint)
    trainer.run(on_step, on_epoch).best.epoch, trainer.history
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from probe.fit.checkpoint import Checkpoint, Tensors, TrainingState
from probe.fit.config import TrainedConfig
from probe.fit.data import FitData
from probe.fit.distillation import DistillationObjective
from probe.fit.divergence import DivergenceGuard
from probe.fit.domains import require_sampler, require_selection, require_trained_head
from probe.fit.embedding import score_merged
from probe.fit.history import DomainRecord, EpochRecord
from probe.fit.objective import Classification, Objective
from probe.fit.optimizers import build_optimizer, hold_gradients, optimizer_tensors, restore_optimizer, set_rate
from probe.fit.plan import TrainingPlan
from probe.fit.samplers import StepBlock, build_sampler
from probe.fit.sharpness import Ascent
from probe.fit.training import BALANCED, Training
from probe.heads import TrainedHead
from probe.metrics import Scores
from probe.search import Distance

OnStep = Callable[[int], None]  # images seen since the last call
OnEpoch = Callable[[EpochRecord], None]


@dataclass(frozen=True)
class Selected:
    """An epoch as it was."""

    epoch: int

    value: float
    """Of the validation metric that selects."""

    val: Scores
    """Of the validation."""

    head: Tensors

    kept: Tensors
    """What the objective keeps beside the head."""


@dataclass(frozen=True)
class Outcome:
    """Of the epochs so far."""

    start: Scores
    """The validation before the first."""

    best: Selected

    last: Scores
    """The last epoch's validation."""


class Trainer:
    """One run from its seed, or from its checkpoint where there is one."""

    def __init__(self, config: TrainedConfig, data: FitData, checkpoint: Checkpoint | None = None) -> None:
        self.training, self.data, self.checkpoint = config.training, data, checkpoint
        self.distance: Distance = config.distance
        require_sampler(self.training, data.sizes_of_domains())
        require_selection(self.training, data.val.frame)
        self.plan = TrainingPlan(self.training, len(data.train))
        require_trained_head(self.plan)
        self.sampler = build_sampler(self.training, self.plan, data, config.seed)
        self.generator = torch.Generator(data.device).manual_seed(config.seed)
        self.objective = build_objective(config, data, self.generator)
        self.head = self.objective.head
        self.optimizer = build_optimizer(self.objective.parameters(), self.training)
        if self.training.classifier.moves_inactive:
            hold_gradients(self.objective, but=self.head)
        self.guard = DivergenceGuard(self.training, math.log(len(data.class_sizes)), data.device)
        self.history: list[EpochRecord] = []
        self.seconds = 0.0
        self.epoch_seconds: list[float] = []
        """Of each epoch's steps, without the validation."""
        self.outcome: Outcome | None = None
        if checkpoint is not None:
            self._resume(checkpoint)
        self.head.requires_grad_(len(self.history) * self.plan.steps_per_epoch >= self.plan.frozen_steps)

    def run(self, on_step: OnStep, on_epoch: OnEpoch) -> Outcome:
        """Trains what is left to train. Raises DivergedError. The head ends as the last epoch left it."""
        begin = time.monotonic() - self.seconds
        start = self.outcome.start if self.outcome else self._validate()
        for epoch in range(len(self.history) + 1, self.plan.epochs + 1):
            epoch_begin = time.monotonic()
            losses = self._epoch(epoch, on_step)
            self.epoch_seconds.append(time.monotonic() - epoch_begin)
            outcome = self.outcome = self._select(epoch, start)
            means = {metric: outcome.last.value(metric) for metric in outcome.last.mean}
            self.history.append(EpochRecord(**losses, val=means))
            self.seconds = time.monotonic() - begin
            if self.checkpoint is not None:
                self.checkpoint.write(self._tensors(outcome.best), self._state(outcome))
            on_epoch(self.history[-1])
        if self.outcome is None:
            raise ValueError("a plan has at least one epoch")
        return self.outcome

    def train(self) -> TrainedHead:
        """All epochs, with neither validation nor checkpoint, so that none is selected: the head of the last one.
        Raises DivergedError."""
        for epoch in range(1, self.plan.epochs + 1):
            self._epoch(epoch, lambda images: None)
        self.head.after_epoch(len(self.data.train), self.data.train.take)
        return self.head

    @property
    def seconds_a_step(self) -> float:
        """In the median epoch, after the run."""
        return statistics.median(self.epoch_seconds) / self.plan.steps_per_epoch

    def _epoch(self, epoch: int, on_step: OnStep) -> dict[str, Any]:
        """Its record, but for the validation."""
        self.objective.train()
        step, rate, seen = (epoch - 1) * self.plan.steps_per_epoch, 0.0, 0
        total, of_domains = torch.zeros((), device=self.data.device), DomainLosses(self.data.domains)
        parts: Tensors = {}
        for block in self.sampler.blocks(epoch):
            noted = torch.zeros(2, len(block.domains), device=self.data.device)  # losses and difficulties
            batches = self.data.train.batches(block.rows, self.training.batch)
            for at, ((rows, features), domain) in enumerate(zip(batches, block.domains, strict=True)):
                rate = self.plan.learning_rate(step)
                if step == self.plan.frozen_steps:
                    self.head.requires_grad_(True)
                value, terms, difficulty = self._step(rate, features.float(), self.data.labels[rows], domain)
                total += value * len(rows)
                for name, part in terms.items():
                    parts[name] = parts.get(name, 0) + part * len(rows)
                if domain is not None:
                    noted[0, at], noted[1, at] = value, difficulty
                step, seen = step + 1, seen + len(rows)
                if self.guard.note(step - 1, rate, value):
                    on_step(seen)
                    seen = 0
            self.guard.check()
            losses, difficulties = noted.tolist()
            self.sampler.observe(block, difficulties)
            of_domains.add(block, losses)
        on_step(seen)
        samples = self.plan.epoch_samples
        record = {"epoch": epoch, "samples": epoch * samples, "loss": float(total) / samples, "lr": rate}
        means = {name: float(part) / samples for name, part in parts.items()}
        return record | {"parts": means, "domains": of_domains.records()}

    def _step(
        self, rate: float, features: torch.Tensor, labels: torch.Tensor, domain: int | None
    ) -> tuple[torch.Tensor, Tensors, torch.Tensor]:
        """One update; the loss before it, without its graph, its parts, and the batch's difficulty."""
        set_rate(self.optimizer, rate)
        radius = self.training.sharpness
        ascent = Ascent(self.objective, self.generator, radius) if radius else None
        value = self.objective(features, labels, domain)
        parts, difficulty = self.objective.parts(), self.objective.difficulty(value)
        self.optimizer.zero_grad(set_to_none=not self.training.classifier.moves_inactive)
        value.backward()
        if ascent:
            ascent.replace_gradients(features, labels, domain)
        self.optimizer.step()
        return value.detach(), parts, difficulty

    def _validate(self) -> Scores:
        self.head.after_epoch(len(self.data.train), self.data.train.take)
        return score_merged(self.head, self.data.val, self.distance)

    def _select(self, epoch: int, start: Scores) -> Outcome:
        """A later epoch has to be better to be selected; at a tie the earlier one stays. One by whose end the head has
        not been trained holds the place until there is another."""
        val = self._validate()
        value = selection_value(val, self.training)
        if (
            self.outcome is not None
            and self.plan.head_is_trained(self.outcome.best.epoch)
            and value <= self.outcome.best.value
        ):
            return replace(self.outcome, last=val)
        head = {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}
        kept = {name: tensor.detach().clone() for name, tensor in self.objective.kept().items()}
        return Outcome(start, Selected(epoch, value, val, head, kept), last=val)

    def _tensors(self, best: Selected) -> Tensors:
        return {
            **_prefixed("objective", self.objective.state_dict()),
            **_prefixed("optimizer", optimizer_tensors(self.optimizer)),
            **_prefixed("best-head", best.head),
            **_prefixed("best-kept", best.kept),
            "generator": self.generator.get_state(),
        }

    def _state(self, outcome: Outcome) -> TrainingState:
        return TrainingState(
            history=self.history,
            start=outcome.start,
            last=outcome.last,
            selected_epoch=outcome.best.epoch,
            selected_value=outcome.best.value,
            selected_val=outcome.best.val,
            device=self.data.device.type,
            window=self.data.window,
            sampler=self.sampler.state(),
            first_loss=self.guard.first_loss,
            seconds=self.seconds,
            epoch_seconds=self.epoch_seconds,
        )

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Goes on after the last epoch that was finished, unless on another device or with rows shuffled otherwise."""
        found = checkpoint.read()
        if found is None:
            return
        tensors, state = found
        if reason := state.conflict(self.data.device.type, self.data.window):
            checkpoint.drop(reason)
            return
        self.objective.load_state_dict(_section(tensors, "objective"))
        self.sampler.restore(state.sampler)
        restore_optimizer(self.optimizer, _section(tensors, "optimizer"))
        self.generator.set_state(tensors["generator"])
        self.history, self.seconds = list(state.history), state.seconds
        self.epoch_seconds = list(state.epoch_seconds)
        self.guard.first_loss = state.first_loss
        head, kept = (
            {name: tensor.to(self.data.device) for name, tensor in _section(tensors, part).items()}
            for part in ("best-head", "best-kept")
        )
        best = Selected(state.selected_epoch, state.selected_value, state.selected_val, head, kept)
        self.outcome = Outcome(state.start, best, state.last)


def build_objective(config: TrainedConfig, data: FitData, generator: torch.Generator) -> Objective:
    """What the run minimizes, its initial weights drawn from the generator."""
    kind = DistillationObjective if config.distillation else Classification
    return kind.build(config, data, generator)


class DomainLosses:
    """Steps and mean loss of each domain in an epoch of single-domain batches."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sums, self._steps = [0.0] * len(names), [0] * len(names)

    def add(self, block: StepBlock, losses: Sequence[float]) -> None:
        for number, loss in zip(block.domains, losses, strict=True):
            if number is not None:
                self._sums[number] += loss
                self._steps[number] += 1

    def records(self) -> dict[str, DomainRecord]:
        """By domain; none where batches were mixed."""
        found = zip(self._names, self._steps, self._sums, strict=True)
        records = {name: DomainRecord(steps=n, loss=total / n if n else None) for name, n, total in found}
        return records if any(self._steps) else {}


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _section(tensors: Tensors, prefix: str) -> Tensors:
    return {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def selection_value(scores: Scores, training: Training) -> float:
    """The validation metric that selects, balanced over the domains or of one."""
    return scores.value(training.select_by, None if training.select_on == BALANCED else training.select_on)
