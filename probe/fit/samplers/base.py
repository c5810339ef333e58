"""What a sampler is: it says which images each training step sees, and of which domain they are.

It is a function of its configuration, the seed and the data, and of the losses that it was told (`observe`).

    sampler = build_sampler(config.training, plan, data, seed=0)
    for block in sampler.blocks(epoch=1):
        ...                                     # a step for each of block.domains
        sampler.observe(block, difficulties)    # a number for each step
"""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from probe.registry import Kind, Registry

if TYPE_CHECKING:
    from probe.fit.data import FitData
    from probe.fit.plan import TrainingPlan
    from probe.fit.training import Training


@dataclass(frozen=True)
class StepBlock:
    """Steps whose batches are gathered together."""

    rows: np.ndarray
    """Training rows of their batches, one batch after the other."""

    domains: Sequence[int | None]
    """Of each step the number of its domain, None for a mixed batch."""


class Sampler:
    """The base of all. `blocks` is what a sampler must have; one that depends on what it has seen has `state` too."""

    class Config(Kind):
        single_domain: ClassVar[bool] = False
        """Whether each batch is of one domain; batches are whole then."""

        def domain_lists(self) -> Mapping[str, Collection[str]]:
            """The options that name domains, each of which they must name once."""
            return {}

    def __init__(self, config: Any, plan: "TrainingPlan", data: "FitData", seed: int) -> None:
        self.config, self.plan, self.data, self.seed = config, plan, data, seed

    @abstractmethod
    def blocks(self, epoch: int) -> Iterator[StepBlock]:
        """The steps of an epoch, counted from 1. A block is asked for when the steps before it have been taken."""

    def observe(self, block: StepBlock, difficulties: Sequence[float]) -> None:
        """Takes in how difficult each step of the block was, mostly its loss."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs after a whole epoch, as JSON."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another sampler of the same configuration was."""


SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "probe.fit.samplers", Sampler)


def build_sampler(training: "Training", plan: "TrainingPlan", data: "FitData", seed: int) -> Sampler:
    return SAMPLERS.find(training.sampler.kind)(training.sampler, plan, data, seed)
