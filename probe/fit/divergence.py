"""Stops a run whose loss is no longer a number, or has exploded, within some steps and without waiting for the device.

Losses are kept on the device and looked at every 50 steps, so the step that is reported is exact. Exploded: their mean
over those steps is ten times the run's first loss, before any update, or chance level (ln C) if that is more.
A domain of one class has a loss of 0 from the first step: the first loss is the first one that is not.

    guard = DivergenceGuard(training, chance=math.log(34_800), device=device)
    guard.note(step, rate, loss)       # raises DivergedError
    guard.check()                      # what was not looked at yet
"""

import math

import torch

from probe.errors import ProbeError
from probe.fit.training import Training

EVERY = 50
EXPLODED = 10.0


class DivergedError(ProbeError):
    """Training that cannot go on."""


class DivergenceGuard:
    """`chance`: the loss of a classifier that knows nothing."""

    def __init__(
        self, training: Training, chance: float, device: torch.device, first_loss: float | None = None
    ) -> None:
        self.first_loss = first_loss
        """None before it is known; a run that goes on is given it."""
        self._training, self._chance = training, chance
        self._losses = torch.zeros(EVERY, device=device)
        self._steps: list[tuple[int, float]] = []

    def note(self, step: int, rate: float, loss: torch.Tensor) -> bool:
        """Remembers the loss of a step; whether this call looked at what it remembers."""
        self._losses[len(self._steps)] = loss.detach()
        self._steps.append((step, rate))
        if len(self._steps) < EVERY:
            return False
        self.check()
        return True

    def check(self) -> None:
        """Raises DivergedError, naming the step, the rate and what to do."""
        values = self._losses[: len(self._steps)].tolist()
        steps, self._steps = self._steps, []
        for (step, rate), value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                raise DivergedError(f"the loss is {value} at {self._place(step, rate)}; {self._advice()}")
        if not values:
            return
        mean = sum(values) / len(values)
        if self.first_loss is None:
            self.first_loss = next((value for value in values if value != 0), None)
        usual = max(self.first_loss or 0.0, self._chance)
        if mean > EXPLODED * usual:
            raise DivergedError(
                f"the loss has exploded: {mean:.4g} on average at {self._place(*steps[-1])}, "
                f"{mean / usual:.0f} times its start; {self._advice()}"
            )

    @staticmethod
    def _place(step: int, rate: float) -> str:
        return f"step {step + 1:,} (learning rate {rate:.3g})"

    def _advice(self) -> str:
        return (
            f"lower training.lr (now {self._training.lr:g}), lengthen training.warmup_epochs "
            f"(now {self._training.warmup_epochs:g}), or lower the loss's scale or margin."
        )
