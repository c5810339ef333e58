"""Half a cosine wave from the highest to the lowest learning rate (UniFEx)."""

import math
from typing import Literal

from pydantic import NonNegativeFloat

from probe.fit.schedules.base import SCHEDULES, Schedule


@SCHEDULES.register
class Cosine(Schedule):
    """lr_min + (lr - lr_min) (1 + cos(πt/T)) / 2 at step t of T."""

    class Config(Schedule.Config):
        kind: Literal["cosine"] = "cosine"

        lr_min: NonNegativeFloat = 1e-3
        """The rate at its end."""

        def require_below(self, lr: float) -> None:
            if self.lr_min > lr:
                raise ValueError(f"lr_min ({self.lr_min}) is above lr ({lr})")

    def rate(self, step: int, steps: int) -> float:
        least = self.config.lr_min
        return least + 0.5 * (self.lr - least) * (1 + math.cos(math.pi * step / steps))
