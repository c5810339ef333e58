"""Domains in proportion to their losses, which the sampler looks at again and again (UDON)."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import PositiveInt

from probe.fit.samplers.base import SAMPLERS, StepBlock
from probe.fit.samplers.shares import permuted
from probe.fit.samplers.single_domain import RoundRobin, SingleDomainSampler

if TYPE_CHECKING:
    from probe.fit.data import FitData
    from probe.fit.plan import TrainingPlan


@SAMPLERS.register
class Dynamic(RoundRobin):
    """Ypsilantis et al., UDON, NeurIPS 2024, as released: round robin first; before the steps `update_every`,
    2 * `update_every`, ... (counted from 1) a domain's share becomes its mean loss since the last such step over the
    sum of all. A domain without a step keeps its share before the shares are scaled to sum to 1."""

    class Config(SingleDomainSampler.Config):
        kind: Literal["dynamic"] = "dynamic"

        update_every: PositiveInt = 1000
        """Steps between two updates of the shares."""

    def __init__(self, config: Config, plan: "TrainingPlan", data: "FitData", seed: int) -> None:
        super().__init__(config, plan, data, seed)
        domains = len(self.numbers)
        self._shares = np.full(domains, 1 / domains)  # by number
        self._updated = 0  # the step, counted from 1; 0 for none
        self._sums, self._steps = np.zeros(domains), np.zeros(domains, np.int64)

    def blocks(self, epoch: int) -> Iterator[StepBlock]:
        every = self.config.update_every
        step, end = (epoch - 1) * self.plan.steps_per_epoch, epoch * self.plan.steps_per_epoch
        while step < end:
            if (step + 1) % every == 0:
                self._update(step + 1)
            stop = min(end, ((step + 1) // every + 1) * every - 1)
            yield self._block(step, stop)
            step = stop

    def observe(self, block: StepBlock, difficulties: Sequence[float]) -> None:
        numbers, size = np.array(block.domains, np.int64), len(self._sums)
        self._sums += np.bincount(numbers, weights=np.asarray(difficulties, np.float64), minlength=size)
        self._steps += np.bincount(numbers, minlength=size)

    def _update(self, step: int) -> None:
        seen = self._steps > 0
        means = self._sums[seen] / self._steps[seen]
        if means.sum() > 0:
            self._shares[seen] = means / means.sum()
            self._shares /= self._shares.sum()
        self._updated = step
        self._reschedule()
        self._sums[:], self._steps[:] = 0, 0

    def _reschedule(self) -> None:
        shares = self._shares[self.numbers].tolist()
        self._schedule = self.numbers[permuted(shares, self.plan.steps, self._updated)]

    def state(self) -> dict[str, Any]:
        own = {"updated": self._updated, "shares": self._shares, "sums": self._sums, "steps": self._steps}
        return super().state() | {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in own.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._updated, self._shares = state["updated"], np.array(state["shares"])
        self._sums, self._steps = np.array(state["sums"]), np.array(state["steps"], np.int64)
        if self._updated:
            self._reschedule()
