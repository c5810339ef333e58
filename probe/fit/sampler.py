"""What each training step sees: a batch over all images, or one of a single domain, by the samplers of UnED and UDON.

A schedule gives each step of the run its domain; a domain's batches follow each other in its own endless stream of
passes (order.py). Both are functions of configuration, seed and data, and for `dynamic` of the losses that it was told.

    sampler = build_sampler(config.training, plan, data, seed=0)
    for stretch in sampler.stretches(epoch=1):
        ...                                       # a step for each of stretch.domains
        sampler.observe(stretch, difficulties)    # a number for each step
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.fit.config import Training
from probe.fit.data import FitData
from probe.fit.domains import require_sampler
from probe.fit.order import Order
from probe.fit.schedule import Plan

PERMUTATION = 0  # the seed of every run's schedule: UnED's code permutes it by PRNGKey(0) whatever the run's seed


@dataclass(frozen=True)
class Stretch:
    """Steps that can be prepared together. `rows`: of their batches, one after the other; `domains`: a number for each
    step, None for a mixed batch."""

    rows: np.ndarray
    domains: Sequence[int | None]


class Sampler:
    """Mixed batches: uniform over the images, the last of an epoch short."""

    def __init__(self, plan: Plan, order: Order) -> None:
        self._plan, self._order = plan, order

    def stretches(self, epoch: int) -> Iterator[Stretch]:
        """The steps of an epoch, counted from 1. The next one is asked for when those before have been taken."""
        samples = self._plan.epoch_samples
        rows = self._order.between((epoch - 1) * samples, epoch * samples)
        yield Stretch(rows, [None] * self._plan.steps_per_epoch)

    def observe(self, stretch: Stretch, difficulties: Sequence[float]) -> None:
        """Takes in how hard each step of the stretch was."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs after a whole epoch, as JSON."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another sampler of the same configuration was."""


class DomainSampler(Sampler):
    """A domain for each step of the run: `schedule`, (steps,) numbers of domains. Whole batches, which may cross the
    end of a pass over the domain (tf.data's repeat, shuffle, batch in UnED's code)."""

    def __init__(self, plan: Plan, schedule: np.ndarray, data: FitData, seed: int) -> None:
        self._plan, self._schedule = plan, schedule
        self._rows = data.rows_of_domain()
        share = np.bincount(schedule, minlength=len(self._rows)) / len(schedule)
        self._streams = [
            Order(len(rows), seed, None if data.window is None else int(data.window * share[number]), stream=(number,))
            for number, rows in enumerate(self._rows)
        ]
        self._taken = [0] * len(self._rows)  # steps, of each stream

    def stretches(self, epoch: int) -> Iterator[Stretch]:
        yield self._stretch((epoch - 1) * self._plan.steps_per_epoch, epoch * self._plan.steps_per_epoch)

    def _stretch(self, start: int, stop: int) -> Stretch:
        domains, batch = self._schedule[start:stop], self._plan.training.batch
        rows = np.empty((stop - start, batch), np.int64)
        for number in np.unique(domains).tolist():
            steps = np.flatnonzero(domains == number)
            first = self._taken[number]
            self._taken[number] += len(steps)
            places = self._streams[number].between(first * batch, self._taken[number] * batch)
            rows[steps] = self._rows[number][places].reshape(-1, batch)
        return Stretch(rows.reshape(-1), domains.tolist())

    def state(self) -> dict[str, Any]:
        return {"taken": list(self._taken)}

    def restore(self, state: dict[str, Any]) -> None:
        self._taken = list(state["taken"])


class DynamicSampler(DomainSampler):
    """Domains in proportion to their losses (Ypsilantis et al., UDON, NeurIPS 2024, as released): round robin first;
    before the steps `every`, 2 * `every`, ... (counted from 1) a domain's share becomes its mean loss since the last
    such step over the sum of all. A domain without a step keeps its share before the shares are scaled to sum to 1.

    `order`: the numbers of the domains as the schedule has them, the last of which gets what rounding leaves."""

    def __init__(self, plan: Plan, order: np.ndarray, data: FitData, seed: int) -> None:
        super().__init__(plan, order[np.arange(plan.steps) % len(order)], data, seed)
        self._every, self._order_of_domains = plan.training.update_every or 0, order
        self._shares = np.full(len(order), 1 / len(order))  # by number
        self._updated = 0  # the step, counted from 1; 0 for none
        self._sums, self._steps = np.zeros(len(order)), np.zeros(len(order), np.int64)

    def stretches(self, epoch: int) -> Iterator[Stretch]:
        step, end = (epoch - 1) * self._plan.steps_per_epoch, epoch * self._plan.steps_per_epoch
        while step < end:
            if (step + 1) % self._every == 0:
                self._update(step + 1)
            stop = min(end, ((step + 1) // self._every + 1) * self._every - 1)
            yield self._stretch(step, stop)
            step = stop

    def observe(self, stretch: Stretch, difficulties: Sequence[float]) -> None:
        numbers, size = np.array(stretch.domains, np.int64), len(self._sums)
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
        shares = self._shares[self._order_of_domains].tolist()
        self._schedule = self._order_of_domains[permuted(shares, self._plan.steps, self._updated)]

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


def build_sampler(training: Training, plan: Plan, data: FitData, seed: int) -> Sampler:
    """Raises UsageError where the configuration's domains are not the data's."""
    if not training.one_domain_a_step:
        return Sampler(plan, Order(len(data.train), seed, data.window))
    sizes = {name: len(rows) for name, rows in zip(data.domains, data.rows_of_domain(), strict=True)}
    require_sampler(training, sizes)
    names = training.domains or tuple(data.domains)
    order = np.array([data.domains.index(name) for name in names], np.int64)
    if training.sampler == "dynamic":
        return DynamicSampler(plan, order, data, seed)
    return DomainSampler(plan, order[schedule(training, {name: sizes[name] for name in names}, plan.steps)], data, seed)


def schedule(training: Training, sizes: Mapping[str, int], steps: int) -> np.ndarray:
    """(steps,) int64: of each step of the run the domain, as its position in `sizes`, the training images by domain.

    UnED's construction (Ypsilantis et al., ICCV 2023, section 4.1; sampling_utils.py of the released code).
    """
    count = len(sizes)
    match training.sampler:
        case "round-robin":
            return np.arange(steps) % count
        case "dataset-size":
            shares = [size / sum(sizes.values()) for size in sizes.values()]
        case "balanced":
            shares = [1 / count] * count
        case "specialist-steps":
            given = training.specialist_steps or {}
            shares = [given[name] / sum(given.values()) for name in sizes]
        case other:
            raise ValueError(f"`{other}` has no schedule of its own")
    return permuted(shares, steps, PERMUTATION)


def permuted(shares: Sequence[float], steps: int, seed: int) -> np.ndarray:
    """(steps,) positions in `shares`: each int(steps * share) times, the last one as often as there are steps left; in
    an order drawn by the seed."""
    counts: list[int] = []
    for share in shares[:-1]:
        counts.append(min(int(steps * share), steps - sum(counts)))
    counts.append(steps - sum(counts))
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(shares)), counts))
