"""Batches of one domain each: the base of UnED's and UDON's samplers, and round robin, the simplest of them.

A schedule gives each step of the run its domain; a domain's batches follow each other in its own endless stream of
passes (order.py).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from probe.fit.samplers.base import SAMPLERS, Sampler, StepBlock
from probe.fit.samplers.order import Order

if TYPE_CHECKING:
    from probe.fit.data import FitData
    from probe.fit.plan import TrainingPlan


class SingleDomainSampler(Sampler):
    """Whole batches, which may cross the end of a pass over their domain (tf.data's repeat, shuffle, batch in UnED's
    code)."""

    class Config(Sampler.Config):
        single_domain: ClassVar[bool] = True

        domains: tuple[str, ...] | None = None
        """Their order, in which the last one has what rounding leaves; by default that of their names."""

        def domain_lists(self) -> Mapping[str, Collection[str]]:
            return {} if self.domains is None else {"domains": self.domains}

    def __init__(self, config: Any, plan: "TrainingPlan", data: "FitData", seed: int) -> None:
        super().__init__(config, plan, data, seed)
        self._rows = data.rows_of_domain()
        names = config.domains or tuple(data.domains)
        self.numbers = np.array([data.domains.index(name) for name in names], np.int64)  # in the order of `domains`
        sizes = {name: len(self._rows[number]) for name, number in zip(names, self.numbers, strict=True)}
        self._schedule = self.numbers[self.schedule(config, sizes, plan.steps)]
        share = np.bincount(self._schedule, minlength=len(self._rows)) / len(self._schedule)
        self._streams = [
            Order(len(rows), seed, None if data.window is None else int(data.window * share[number]), stream=(number,))
            for number, rows in enumerate(self._rows)
        ]
        self._taken = [0] * len(self._rows)  # steps, of each stream

    @staticmethod
    def schedule(config: Any, sizes: Mapping[str, int], steps: int) -> np.ndarray:
        """(steps,) int64: of each step of the run the domain, as its position in `sizes`, the training images by
        domain in the order of `domains`."""
        raise NotImplementedError

    def blocks(self, epoch: int) -> Iterator[StepBlock]:
        yield self._block((epoch - 1) * self.plan.steps_per_epoch, epoch * self.plan.steps_per_epoch)

    def _block(self, start: int, stop: int) -> StepBlock:
        domains, batch = self._schedule[start:stop], self.plan.training.batch
        rows = np.empty((stop - start, batch), np.int64)
        for number in np.unique(domains).tolist():
            steps = np.flatnonzero(domains == number)
            first = self._taken[number]
            self._taken[number] += len(steps)
            places = self._streams[number].between(first * batch, self._taken[number] * batch)
            rows[steps] = self._rows[number][places].reshape(-1, batch)
        return StepBlock(rows.reshape(-1), domains.tolist())

    def state(self) -> dict[str, Any]:
        return {"taken": list(self._taken)}

    def restore(self, state: dict[str, Any]) -> None:
        self._taken = list(state["taken"])


@SAMPLERS.register
class RoundRobin(SingleDomainSampler):
    """One domain after the other, and again."""

    class Config(SingleDomainSampler.Config):
        kind: Literal["round-robin"] = "round-robin"

    @staticmethod
    def schedule(config: Config, sizes: Mapping[str, int], steps: int) -> np.ndarray:
        return np.arange(steps) % len(sizes)
