"""How long a run trains and at which rate: epochs, steps, and the learning rate of each step.

Nothing but the configuration and the number of training images decides it.

    plan = TrainingPlan(Training(), images=328_400)
    plan.epochs, plan.steps_per_epoch, plan.learning_rate(step=0)      # 10, 2566, about 4e-6
"""

import math
from dataclasses import dataclass
from functools import cached_property

from probe.fit.schedules import Schedule, build_schedule
from probe.fit.training import Training


@dataclass(frozen=True)
class TrainingPlan:
    """Where batches are of one domain, what is left of an epoch beyond whole batches is left out (UnED's
    floor(images / batch) steps)."""

    training: Training

    images: int
    """Of the training split."""

    @property
    def epochs(self) -> int:
        return self.training.length.count

    @cached_property
    def epoch_samples(self) -> int:
        """Images that an epoch trains on; those of a sample-counted one may repeat."""
        samples = self.training.length.epoch_images(self.images)
        return self.steps_per_epoch * self.training.batch if self.training.sampler.single_domain else samples

    @cached_property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch of mixed batches may be short."""
        return self._steps(self.training.length.epoch_images(self.images))

    def _steps(self, samples: int) -> int:
        batch = self.training.batch
        return samples // batch if self.training.sampler.single_domain else math.ceil(samples / batch)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @cached_property
    def frozen_steps(self) -> int:
        """How many steps at the start leave the head as it was drawn: those of `freeze_head_epochs`, and one more.

        UnED's code freezes while `frozen_steps >= count`, and optax counts the first step as 0; so its 2 epochs of
        22,118 steps freeze 44,237.
        """
        frozen = self.training.freeze_head_epochs
        return frozen * self.steps_per_epoch + 1 if frozen else 0

    def head_is_trained(self, epoch: int) -> bool:
        """By the end of this epoch, counted from 1."""
        return epoch * self.steps_per_epoch > self.frozen_steps

    @cached_property
    def warmup_steps(self) -> float:
        return self.training.warmup_epochs * self._steps(self.images)

    @cached_property
    def _schedule(self) -> Schedule:
        return build_schedule(self.training)

    def learning_rate(self, step: int) -> float:
        """lr(t) = schedule(t, T) · min(1, (t + 1) / W), t counted from 0; T all steps, W those of the warm-up.

        A cosine runs from step 0 through the warm-up, so the peak stays just below `lr` (UniFEx's code).
        """
        rate = self._schedule.rate(step, self.steps)
        return rate * (min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0)
