"""About how long what is missing takes: by what finished runs and extractions took here, else by two CPU cores' speed.

The work of a run is modelled, its steps and its searches, and scaled by what the likest finished runs took over what
the model says of them. Good to a factor of two or three, and it says what it is made of.

str(Estimator(past, speeds).extraction(backbone, images=328_400))     # "about 4 h, as finished work here took"
"""

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from probe.backbones.catalogue import Backbone
from probe.errors import UsageError
from probe.extract.speed import Speed
from probe.fit import RunConfig, RunScores, Separate, TrainedConfig, TrainingPlan, read_run_config
from probe.planning.size import Search, Size, Training
from probe.runs.directory import Run, read_scores
from probe.runs.index import PastRuns

UNKNOWN = "how long is not known: nothing like it was run here"
HERE, REFERENCE = "as finished work here took", "at the speed of 2 CPU cores"
# Two CPU cores, docs/losses.md: a step with 128 images in 64 dimensions; what a step and a run take whatever the data.
SECONDS_A_CENTRE, SECONDS_A_STEP, SECONDS_A_RUN = 0.5e-6, 1e-3, 1.0
OPERATIONS_A_SECOND = 5e10  # of matrix products on two CPU cores that have other work too; their peak is four times it
LOOKED_AT = 8  # finished runs
USUAL_DIM = 768
DAY = 86400.0


class Estimate(NamedTuple):
    """`unknown`: how many runs are not in it."""

    seconds: float
    basis: str
    unknown: int = 0

    def __str__(self) -> str:
        left_out = f", and {self.unknown} run(s) of unknown length" if self.unknown else ""
        return f"{rounded(self.seconds)}, {self.basis}{left_out}"


def rounded(seconds: float) -> str:
    """As people say it: `about 40 min`."""
    if seconds < 45:
        return "less than a minute"
    for limit, unit, name in ((90 * 60, 60, "min"), (36 * 3600, 3600, "h"), (700 * DAY, DAY, "days")):
        if seconds < limit:
            return f"about {max(1, round(seconds / unit))} {name}"
    return f"about {round(seconds / (365 * DAY))} years"


@dataclass(frozen=True)
class Wanted:
    """A run that is to be made, its features' length, and the size of its data, None where that is not known."""

    run: Run
    dim: int
    size: Size | None


class Estimator:
    """`speeds`: of extractions."""

    def __init__(self, past: PastRuns, speeds: Sequence[Speed]) -> None:
        self._past, self._speeds = past, speeds
        self._config = cache(self._read_config)

    def runs(self, wanted: Sequence[Wanted]) -> Estimate | None:
        """All of them, one after the other; None where nothing is known of any."""
        found = [self._run(one) for one in wanted]
        known = [estimate for estimate in found if estimate is not None]
        if not known:
            return None
        basis = HERE if all(estimate.basis == HERE for estimate in known) else REFERENCE
        return Estimate(sum(estimate.seconds for estimate in known), basis, len(found) - len(known))

    def extraction(self, backbone: Backbone, images: int) -> Estimate | None:
        """By what this backbone took before, its views alike, else by its operations; None where neither is known."""
        name = backbone.name.partition("@")[0]
        own = [speed for speed in self._speeds if speed.backbone.partition("@")[0] == name]
        if own:
            pace = sum(speed.seconds for speed in own) / sum(speed.images for speed in own)
            return Estimate(images * pace, HERE)
        operations = operations_an_image(backbone)
        return None if operations is None else Estimate(images * operations / OPERATIONS_A_SECOND, REFERENCE)

    def _run(self, wanted: Wanted) -> Estimate | None:
        config = wanted.run.config
        same, scales = [], []
        for path, found, seconds in islice(self._likest(wanted.run), LOOKED_AT):
            if found.model_copy(update={"seed": config.seed}) == config:
                same.append(seconds)
            elif modelled := self._modelled(path, found, wanted.dim):
                scales.append(seconds / modelled)
        if same:
            return Estimate(statistics.median(same), HERE)
        modelled = model(config, wanted.dim, wanted.size) if wanted.size else None
        if modelled is None:
            return None
        return Estimate(modelled * statistics.median(scales), HERE) if scales else Estimate(modelled, REFERENCE)

    def _likest(self, run: Run) -> Iterator[tuple[Path, RunConfig, float]]:
        """Finished runs of the same name but for the seed, else of the same features; trained where this one is."""
        names, plain = self._past.by_name, _without_seed(run.name)
        alike = [name for name in names if _without_seed(name) == plain]
        same_features = [name for name in names if name.startswith(f"{plain.partition('_')[0]}_")]
        for name in alike or same_features:
            for path in names[name]:
                found, seconds = self._config(path), self._past.environment(path).get("seconds")
                if type(found) is type(run.config) and isinstance(seconds, int | float) and seconds > 0:
                    yield path, found, float(seconds)

    def _read_config(self, path: Path) -> RunConfig | None:
        try:
            return read_run_config(self._past.written(path).get("config"))
        except ValidationError:
            return None

    def _modelled(self, path: Path, config: RunConfig, dim: int) -> float | None:
        """What the model says of a finished run, whose index is taken to be as large as its queries are many."""
        try:
            scores = read_scores(path, RunScores)
            queries = sum(domain.queries for domain in scores.test.of("clean", "merged").domains.values())
        except (UsageError, KeyError):
            return None
        train = Training(scores.training_images, scores.classes or 0)
        search = Search(queries, queries)
        return model(config, dim, Size({config.domain or "": train}, search, search))


def _without_seed(name: str) -> str:
    return name.rpartition("_seed")[0]


def model(config: RunConfig, dim: int, size: Size) -> float | None:
    """Seconds on two CPU cores; None where the domain's images are not known. `dim`: of the features."""
    training, embedded = size.training(config.domain), config.head.embedding_dim(dim)
    if training is None:
        return None
    test = SECONDS_A_RUN + _search(size.test, dim, embedded)
    if not isinstance(config, TrainedConfig):
        return 2.0 * training.images * dim * dim / OPERATIONS_A_SECOND + test
    plan = TrainingPlan(config.training, training.images)
    classes = training.classes * max(1, config.loss.centers)
    if isinstance(config.training.classifier, Separate):
        classes /= len(size.train)
    batch = config.training.batch
    head = 6 * batch * dim * embedded / OPERATIONS_A_SECOND
    step = SECONDS_A_STEP + head + classes * SECONDS_A_CENTRE * batch / 128 * embedded / 64
    step *= 2 if config.training.sharpness else 1  # passes
    return plan.steps * step + plan.epochs * _search(size.val, dim, embedded) + 2 * test


def _search(search: Search, dim: int, embedded: int) -> float:
    products = search.queries * search.index * embedded + max(search) * dim * embedded
    return 2 * products / OPERATIONS_A_SECOND


def operations_an_image(backbone: Backbone) -> float | None:
    """Of a plain vision transformer, two for each parameter and patch; None for anything else."""
    row = backbone.row
    found = re.search(r"(?i)(?:vit|eva|deit|siglip|dino)\S*?(?:patch|-)(\d\d)(?!\d)", row.model)
    return 2.0 * row.params * (row.px / int(found[1])) ** 2 if found and row.params else None
