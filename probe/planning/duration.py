"""Estimates of how long missing runs and extractions take: by finished work here, else by the rates of a machine.

The model counts a run's steps and searches. It is scaled by the ratio of measured to modelled time of the most similar
finished runs. Work on another kind of device tells nothing. Good to a factor of two or three; an estimate says what it
is based on.

estimator = Estimator(runs, speeds, this_machine())
str(estimator.extraction(backbone, images=328_400))     # "about 4 h, as finished work here took"
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from probe.backbones import Backbone, BackboneRow, bundled_rows
from probe.errors import UsageError
from probe.extract import Speed
from probe.fit import RunConfig, Separate, TrainedConfig, TrainingPlan
from probe.planning.machine import Machine
from probe.planning.size import DataSize, SearchSize, TrainingSize
from probe.runs import Run, RunDirectory, RunIndex

UNKNOWN = "how long is not known: nothing like it was run here"
HERE = "as finished work here took"
OTHERS_HERE = "as other backbones took here"
SIMILAR_RUNS = 8  # that scale the model
USUAL_DIM = 768
DAY = 86400.0


class Estimate(NamedTuple):
    seconds: float
    basis: str
    """HERE, OTHERS_HERE, or the machine at whose speed."""
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


class Estimator:
    """Of a machine; where that is this one, by what finished runs and extractions took."""

    def __init__(self, runs: RunIndex, speeds: Sequence[Speed], machine: Machine) -> None:
        self.machine = machine
        self._finished = runs
        self._speeds = [
            speed
            for speed in speeds
            if machine.is_here and speed.device == machine.device and speed.precision in ("", machine.precision)
        ]

    @property
    def basis(self) -> str:
        """Of an estimate that rests on nothing that was measured here."""
        return f"at the {'' if self.machine.device == 'cpu' else 'estimated '}speed of {self.machine.name}"

    def runs(self, planned: Sequence[PlannedRun]) -> Estimate | None:
        """Of all runs, one after the other; None where there are some and none can be estimated."""
        found = [self._run(run) for run in planned]
        known = [estimate for estimate in found if estimate is not None]
        if found and not known:
            return None
        basis = HERE if known and all(estimate.basis == HERE for estimate in known) else self.basis
        return Estimate(sum(estimate.seconds for estimate in known), basis, len(found) - len(known))

    def extraction(self, backbone: Backbone, images: int) -> Estimate | None:
        """By earlier extractions with this backbone or another view of it, else by its operations and the rate of
        other backbones here, else of the machine; None where its operations are not known."""
        name = backbone.name.partition("@")[0]
        own = [speed for speed in self._speeds if speed.backbone.partition("@")[0] == name]
        if own:
            pace = sum(speed.seconds for speed in own) / sum(speed.images for speed in own)
            return Estimate(images * pace, HERE)
        operations = operations_an_image(backbone.row)
        if operations is None:
            return None
        if self._measured_rate:
            return Estimate(images * operations / self._measured_rate, OTHERS_HERE)
        return Estimate(images * operations / self.machine.operations, self.basis)

    @cached_property
    def _measured_rate(self) -> float | None:
        """Operations a second that other backbones reached here."""
        rows = bundled_rows()
        known = [(speed, rows.get(speed.backbone.partition("@")[0])) for speed in self._speeds]
        rates = [speed.rate * (operations_an_image(row) or 0) for speed, row in known if row]
        return statistics.median(rate for rate in rates if rate) if any(rates) else None

    def _run(self, planned: PlannedRun) -> Estimate | None:
        config = planned.run.config
        if same := self._timed(self._finished.same_but_for_seed(config)):
            return Estimate(statistics.median(seconds for _, seconds in same), HERE)
        modelled = model(config, planned.dim, planned.size, self.machine) if planned.size else None
        if modelled is None:
            return None
        similar = [(self._modelled(run, planned.dim), seconds) for run, seconds in self._similar_runs(config)]
        scales = [seconds / of_model for of_model, seconds in similar if of_model]
        return Estimate(modelled * statistics.median(scales), HERE) if scales else Estimate(modelled, self.basis)

    def _similar_runs(self, config: RunConfig) -> list[tuple[RunDirectory, float]]:
        """Finished runs of the same features, trained if this one is; where some have its kinds of head and loss, only
        those."""
        alike = [run for run in self._finished.same_features(config) if type(run.config) is type(config)]
        return self._timed([run for run in alike if _kinds(run.config) == _kinds(config)] or alike)

    def _timed(self, runs: Iterable[RunDirectory]) -> list[tuple[RunDirectory, float]]:
        """Some of those that were made on such a machine, with the seconds that they took."""
        made_so = (run for run in runs if self.machine.is_here and run.environment.device == self.machine.device)
        timed = ((run, run.environment.seconds) for run in made_so)
        return list(islice(((run, seconds) for run, seconds in timed if seconds and seconds > 0), SIMILAR_RUNS))

    def _modelled(self, run: RunDirectory, dim: int) -> float | None:
        """The modelled time of a finished run, whose index is taken to be as large as its query set."""
        try:
            scores = run.scores
            queries = sum(domain.queries for domain in scores.test.of("clean", "merged").domains.values())
        except UsageError:
            return None
        train = TrainingSize(scores.training_images, scores.classes or 0)
        search = SearchSize(queries, queries)
        return model(run.config, dim, DataSize({run.config.domain or "": train}, search, search), self.machine)


def _kinds(config: RunConfig) -> tuple[str, str | None]:
    return config.head.kind, config.loss.kind if isinstance(config, TrainedConfig) else None


def model(config: RunConfig, dim: int, size: DataSize, machine: Machine) -> float | None:
    """Seconds; None where the domain's images are not known. `dim`: of the features."""
    training, embedded = size.training(config.domain), config.head.embedding_dim(dim)
    test = machine.seconds_a_run + _search(size.test, dim, embedded, machine)
    if "train" not in config.splits:
        return test
    if training is None:
        return None
    if not isinstance(config, TrainedConfig):
        return 2.0 * training.images * dim * dim / machine.operations + test
    plan = TrainingPlan(config.training, training.images)
    classes = training.classes * max(1, config.loss.centers)
    if isinstance(config.training.classifier, Separate):
        classes /= len(size.train)
    batch = config.training.batch
    head = 6 * batch * dim * embedded / machine.operations
    step = machine.seconds_a_step + head + classes * machine.seconds_a_center * batch / 128 * embedded / 64
    step *= 2 if config.training.sharpness else 1  # passes
    return plan.steps * step + plan.epochs * _search(size.val, dim, embedded, machine) + 2 * test


def _search(search: SearchSize, dim: int, embedded: int, machine: Machine) -> float:
    products = search.queries * search.index * embedded + max(search) * dim * embedded
    return 2 * products / machine.operations


def operations_an_image(row: BackboneRow) -> float | None:
    """Of the forward pass: the row's, else those of a plain vision transformer, two for each parameter and patch; None
    for other backbones."""
    if row.gflops:
        return row.gflops * 1e9
    found = re.search(r"(?i)(?:vit|eva|deit|siglip|dino)\S*?(?:patch|-)(\d\d)(?!\d)", row.model)
    return 2.0 * row.params * (row.px / int(found[1])) ** 2 if found and row.params else None
