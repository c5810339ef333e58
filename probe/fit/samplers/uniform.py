"""Batches that mix the domains: drawn uniformly from all images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from probe.fit.samplers.base import SAMPLERS, Sampler, StepBlock
from probe.fit.samplers.order import Order

if TYPE_CHECKING:
    from probe.fit.data import FitData
    from probe.fit.plan import TrainingPlan


@SAMPLERS.register
class Uniform(Sampler):
    """Passes over all training images; the last batch of an epoch may be short."""

    class Config(Sampler.Config):
        kind: Literal["uniform"] = "uniform"

    def __init__(self, config: Config, plan: "TrainingPlan", data: "FitData", seed: int) -> None:
        super().__init__(config, plan, data, seed)
        self._order = Order(len(data.train), seed, data.window)

    def blocks(self, epoch: int) -> Iterator[StepBlock]:
        samples = self.plan.epoch_samples
        rows = self._order.between((epoch - 1) * samples, epoch * samples)
        yield StepBlock(rows, [None] * self.plan.steps_per_epoch)
