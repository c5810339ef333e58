"""One learning rate for all steps."""

from typing import Literal

from probe.fit.schedules.base import SCHEDULES, Schedule


@SCHEDULES.register
class Constant(Schedule):
    class Config(Schedule.Config):
        kind: Literal["constant"] = "constant"

    def rate(self, step: int, steps: int) -> float:
        return self.lr
