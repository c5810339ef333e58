"""Samplers that give each domain a share of the run's steps: of its size, the same for all, or as it is given.

UnED's construction (Ypsilantis et al., ICCV 2023, section 4.1; sampling_utils.py of the released code).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt, model_validator

from probe.fit.samplers.base import SAMPLERS
from probe.fit.samplers.single_domain import SingleDomainSampler

PERMUTATION = 0  # the seed of every run's schedule: UnED's code permutes it by PRNGKey(0) whatever the run's seed


class ShareSampler(SingleDomainSampler):
    """The base: what differs is `shares`."""

    @staticmethod
    def shares(config: Any, sizes: Mapping[str, int]) -> list[float]:
        """Of each domain, in the order of `sizes`; their sum is 1."""
        raise NotImplementedError

    @classmethod
    def schedule(cls, config: Any, sizes: Mapping[str, int], steps: int) -> np.ndarray:
        return permuted(cls.shares(config, sizes), steps, PERMUTATION)


@SAMPLERS.register
class DatasetSize(ShareSampler):
    """Steps in proportion to the domains' training images."""

    class Config(ShareSampler.Config):
        kind: Literal["dataset-size"] = "dataset-size"

    @staticmethod
    def shares(config: Config, sizes: Mapping[str, int]) -> list[float]:
        return [size / sum(sizes.values()) for size in sizes.values()]


@SAMPLERS.register
class Balanced(ShareSampler):
    """As many steps for each domain; in UnED's code only."""

    class Config(ShareSampler.Config):
        kind: Literal["balanced"] = "balanced"

    @staticmethod
    def shares(config: Config, sizes: Mapping[str, int]) -> list[float]:
        return [1 / len(sizes)] * len(sizes)


@SAMPLERS.register
class SpecialistSteps(ShareSampler):
    """Steps in proportion to those after which the domains' specialists were best."""

    class Config(ShareSampler.Config):
        kind: Literal["specialist-steps"] = "specialist-steps"

        specialist_steps: dict[str, PositiveInt]
        """By domain."""

        def domain_lists(self) -> Mapping[str, Collection[str]]:
            return {**super().domain_lists(), "specialist_steps": self.specialist_steps}

        @model_validator(mode="before")
        @classmethod
        def _has_steps(cls, given: Any) -> Any:
            if isinstance(given, dict) and not given.get("specialist_steps"):
                raise ValueError(
                    "`sampler: specialist-steps` needs `specialist_steps`, a number of steps for each domain"
                )
            return given

    @staticmethod
    def shares(config: Config, sizes: Mapping[str, int]) -> list[float]:
        given = config.specialist_steps
        return [given[name] / sum(given.values()) for name in sizes]


def permuted(shares: Sequence[float], steps: int, seed: int) -> np.ndarray:
    """(steps,) positions in `shares`: each int(steps * share) times, the last one as often as there are steps left; in
    an order drawn by the seed."""
    counts: list[int] = []
    for share in shares[:-1]:
        counts.append(min(int(steps * share), steps - sum(counts)))
    counts.append(steps - sum(counts))
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(shares)), counts))
