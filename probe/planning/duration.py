"""Estimates of how long missing runs and extractions take: by finished work on the same machine, else by its rates.

A run's steps are estimated by measured ones, as a function of what there is to compute in a step: centres of classes,
length of the embeddings, images; its searches by those of runs on the same data. Work on another device tells nothing.
Good to a factor of two or three; an estimate says what it is based on, and of what machine it is.

estimator = Estimator(runs, speeds, this_machine())
str(estimator.extraction(backbone, images=328_400))     # "about 4 h, as finished work took on 2 CPU cores"
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from probe.backbones import Backbone, BackboneRow, bundled_rows
from probe.errors import UsageError
from probe.extract import Speed
from probe.fit import TrainedConfig
from probe.planning.machine import Machine
from probe.planning.run_time import measured_time, modelled_step_of, modelled_time
from probe.planning.size import DataSize
from probe.runs import Run, RunDirectory, RunIndex

UNKNOWN = "how long is not known: nothing like it was measured"
SIMILAR_RUNS = 8  # whose searches tell of a run's
REACH = 2.0  # measured steps tell of those that take so many times as long, or as short
USUAL_DIM = 768
DAY = 86400.0


class Estimate(NamedTuple):
    seconds: float
    basis: str
    """What most of it rests on, and of what machine it is."""
    unknown: int = 0
    """Runs of unknown length, which are not in `seconds`."""

    def __str__(self) -> str:
        left_out = f", and {self.unknown} run(s) of unknown length" if self.unknown else ""
        return f"{rounded(self.seconds)}, {self.basis}{left_out}"


def side_by_side(seconds: Sequence[float], devices: int) -> float:
    """Of pieces of work on as many devices: the sum shared out, but no less than the longest."""
    return max([sum(seconds) / devices, *seconds], default=0.0)


def rounded(seconds: float) -> str:
    """In words: `about 40 min`."""
    if seconds < 45:
        return "less than a minute"
    for limit, unit, name in ((90 * 60, 60, "min"), (36 * 3600, 3600, "h"), (700 * DAY, DAY, "days")):
        if seconds < limit:
            return f"about {max(1, round(seconds / unit))} {name}"
    return f"about {round(seconds / (365 * DAY))} years"


@dataclass(frozen=True)
class PlannedRun:
    """A run that is missing."""

    run: Run
    dim: int
    """Length of its features."""
    size: DataSize | None
    """Of its data; None where that is not known."""


@dataclass(frozen=True)
class MeasuredStep:
    """A training step of a finished run, in seconds."""

    loss: str
    distilled: bool
    modelled: float
    measured: float


class Estimator:
    """Of a machine, by what finished runs and extractions took there."""

    def __init__(self, runs: RunIndex, speeds: Sequence[Speed], machine: Machine) -> None:
        self.machine = machine
        self._runs = runs
        self._speeds = [
            speed
            for speed in speeds
            if machine.did(speed.device, speed.gpu) and speed.precision in ("", machine.precision)
        ]

    def runs(self, planned: Sequence[PlannedRun]) -> Estimate | None:
        """Of all runs, one after the other; None where there are some and none can be estimated."""
        found = [self._run(run) for run in planned]
        known = [estimate for estimate in found if estimate is not None]
        if not found:
            return Estimate(0.0, self.machine.speed)
        return _sum(known)._replace(unknown=len(found) - len(known)) if known else None

    def extraction(self, backbone: Backbone, images: int) -> Estimate | None:
        """By earlier extractions with this backbone or another view of it, else by its operations and the rate of
        other backbones there, else of the machine; None where its operations are not known."""
        name = backbone.name.partition("@")[0]
        own = [speed for speed in self._speeds if speed.backbone.partition("@")[0] == name]
        if own:
            pace = sum(speed.seconds for speed in own) / sum(speed.images for speed in own)
            return Estimate(images * pace, self._as_took("finished work"))
        operations = operations_an_image(backbone.row)
        if operations is None:
            return None
        if self._measured_rate:
            return Estimate(images * operations / self._measured_rate, self._as_took("other backbones"))
        return Estimate(images * operations / self.machine.operations, self.machine.speed)

    def _as_took(self, work: str) -> str:
        """The basis of an estimate by what was measured."""
        return f"as {work} took on {self.machine.name}"

    @cached_property
    def _measured_rate(self) -> float | None:
        """Operations a second that other backbones reached."""
        rows = bundled_rows()
        known = [(speed, rows.get(speed.backbone.partition("@")[0])) for speed in self._speeds]
        rates = [speed.rate * (operations_an_image(row) or 0) for speed, row in known if row]
        return statistics.median(rate for rate in rates if rate) if any(rates) else None

    def _run(self, planned: PlannedRun) -> Estimate | None:
        config, size = planned.run.config, planned.size
        modelled = modelled_time(config, planned.dim, size, self.machine) if size else None
        if size is None or modelled is None:
            return None
        rest = self._rest(planned.run, size, modelled.rest)
        if not isinstance(config, TrainedConfig):
            return rest
        step = self._step(config, modelled.step)
        return _sum([step._replace(seconds=modelled.steps * step.seconds), rest])

    def _step(self, config: TrainedConfig, modelled: float) -> Estimate:
        """Interpolated between measured steps of the same loss, or else of all; beyond them in the proportion of the
        nearest; at the rates of the machine where there are none."""
        kind = config.loss.kind, config.distillation is not None
        own = [step for step in self._steps if (step.loss, step.distilled) == kind]
        for steps in (own, self._steps):
            if _reach(steps, modelled):
                return Estimate(modelled * _ratio(steps, modelled), self._as_took("finished work"))
        if self._steps:
            return Estimate(modelled * _ratio(own or self._steps, modelled), self._as_took("other runs"))
        return Estimate(modelled, self.machine.speed)

    def _rest(self, run: Run, size: DataSize, modelled: float) -> Estimate:
        """In the proportion of finished runs of the same data, trained ones for a trained one."""
        alike = (
            other
            for other in self._runs.of_manifest(run.inputs.get("manifest"))
            if type(other.config) is type(run.config) and self._is_of_machine(other)
        )
        ratios = (ratio for other in alike if (ratio := self._ratio_of_rest(other, size)))
        if some := list(islice(ratios, SIMILAR_RUNS)):
            return Estimate(modelled * statistics.median(some), self._as_took("finished work"))
        return Estimate(modelled, self.machine.speed)

    def _ratio_of_rest(self, run: RunDirectory, size: DataSize) -> float | None:
        """Of measured to modelled; `size`: of the run's data."""
        try:
            measured = measured_time(run)
        except UsageError:  # damaged, which is said elsewhere
            return None
        modelled = modelled_time(run.config, run.features.dim, size, self.machine)
        return measured.rest / modelled.rest if measured and modelled and measured.rest > 0 else None

    @cached_property
    def _steps(self) -> list[MeasuredStep]:
        """Of all finished runs on the machine."""
        found = []
        for run in filter(self._is_of_machine, self._runs.runs):
            config, measured = run.config, run.environment.seconds_a_step
            if not isinstance(config, TrainedConfig) or not measured:
                continue
            try:
                modelled = modelled_step_of(run, config, self.machine)
            except UsageError:
                continue
            found.append(MeasuredStep(config.loss.kind, config.distillation is not None, modelled, measured))
        return found

    def _is_of_machine(self, run: RunDirectory) -> bool:
        return self.machine.did(run.environment.device, run.environment.gpu)


def _reach(steps: Sequence[MeasuredStep], modelled: float) -> bool:
    """Whether they tell of it: it is between them, or near."""
    found = [step.modelled for step in steps]
    return bool(found) and min(found) / REACH <= modelled <= max(found) * REACH


def _ratio(steps: Sequence[MeasuredStep], modelled: float) -> float:
    """Of measured to modelled steps, interpolated in logarithms; beyond them that of the nearest."""
    ratios: dict[float, list[float]] = {}
    for step in steps:
        ratios.setdefault(step.modelled, []).append(math.log(step.measured / step.modelled))
    places = sorted(ratios)
    medians = [statistics.median(ratios[place]) for place in places]
    return math.exp(np.interp(math.log(modelled), np.log(places), medians))


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    """On the basis of most of the time."""
    seconds: dict[str, float] = {}
    for estimate in estimates:
        seconds[estimate.basis] = seconds.get(estimate.basis, 0.0) + estimate.seconds
    return Estimate(sum(seconds.values()), max(seconds, key=lambda basis: seconds[basis]))


def operations_an_image(row: BackboneRow) -> float | None:
    """Of the forward pass: the row's, else those of a plain vision transformer, two for each parameter and patch; None
    for other backbones."""
    if row.gflops:
        return row.gflops * 1e9
    found = re.search(r"(?i)(?:vit|eva|deit|siglip|dino)\S*?(?:patch|-)(\d\d)(?!\d)", row.model)
    return 2.0 * row.params * (row.px / int(found[1])) ** 2 if found and row.params else None
