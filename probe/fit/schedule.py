"""How long a run trains and at which rate: epochs, steps, and the learning rate of each step.

Nothing but the configuration and the number of training images decides it.

    plan = Plan(Training(), images=328_400)
    plan.epochs, plan.steps_per_epoch, plan.learning_rate(step=0)      # 10, 2566, about 4e-6
"""

import math
from dataclasses import dataclass
from functools import cached_property

from probe.fit.config import Training


@dataclass(frozen=True)
class Plan:
    """`images`: of the training split. An epoch is a pass over them, or `validate_every` samples; where a step has one
    domain, what is left of it beyond whole batches is left out (UnED's floor(images / batch) steps)."""

    training: Training
    images: int

    @cached_property
    def epochs(self) -> int:
        if self.training.samples is None:
            return self.training.epochs or 0
        return self.training.samples // (self.training.validate_every or self.images)

    @cached_property
    def epoch_samples(self) -> int:
        """Images that an epoch trains on; those of a sample-counted one may repeat."""
        samples = self.training.validate_every or self.images
        return self.steps_per_epoch * self.training.batch if self.training.one_domain_a_step else samples

    @cached_property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch of mixed batches may be short."""
        return self._steps(self.training.validate_every or self.images)

    def _steps(self, samples: int) -> int:
        batch = self.training.batch
        return samples // batch if self.training.one_domain_a_step else math.ceil(samples / batch)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @cached_property
    def warmup_steps(self) -> float:
        return self.training.warmup_epochs * self._steps(self.images)

    def learning_rate(self, step: int) -> float:
        """lr(t) = [lr_min + (lr - lr_min) (1 + cos(πt/T)) / 2] · min(1, (t + 1) / W), t counted from 0; T all steps.

        The cosine runs from step 0 through the warm-up, so the peak stays just below `lr` (UniFEx's code). With the
        schedule `constant` the bracket is `lr`.
        """
        rate, least = self.training.lr, self.training.lr_min
        if least is not None:  # cosine
            rate = least + 0.5 * (rate - least) * (1 + math.cos(math.pi * step / self.steps))
        return rate * (min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0)
