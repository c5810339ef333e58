"""What a schedule is: it gives each step of a run its learning rate, before the warm-up (plan.py) scales it.

rate = build_schedule(training).rate(step=0, steps=25_660)
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from probe.registry import Kind, Registry

if TYPE_CHECKING:
    from probe.fit.training import Training


class Schedule:
    """The base of all. `lr`: the highest rate."""

    class Config(Kind):
        def require_below(self, lr: float) -> None:
            """Raises ValueError where an option is a rate above the highest."""

    def __init__(self, config: Any, lr: float) -> None:
        self.config, self.lr = config, lr

    @abstractmethod
    def rate(self, step: int, steps: int) -> float:
        """Of a step, counted from 0, of so many in all."""


SCHEDULES: Registry[type[Schedule]] = Registry(
    "schedule", "probe.fit.schedules", Schedule, lambda schedule, config: schedule(config, 1.0)
)


def build_schedule(training: "Training") -> Schedule:
    return SCHEDULES.find(training.schedule.kind)(training.schedule, training.lr)
