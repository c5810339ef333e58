"""The heads that `head: auto` chooses among, as configurations of runs, and what they scored.

    candidates(config, dim=64, teacher=256, shrinkages={0.5: 1.0, 1.0: 0.5}, classes_a_domain=40.0)

by name; the first one is the default.
"""

from collections.abc import Mapping
from typing import Any

from probe.fit.config import ClosedFormConfig, RunConfig, TrainedConfig, read_run_config
from probe.validation import Strict

SOME, MANY = 4.0, 20.0  # classes a domain, between which two stages are better than one more often than not
TEACHER = 256  # dimensions of the first of two stages, where the images span them
POWERS = (0.5, 1.0)
UNIFEX = {"epochs": 10, "batch": 128, "lr": 0.01, "lr_min": 0.001, "warmup_epochs": 1, "weight_decay": 1e-4}
LONGER = UNIFEX | {"epochs": 20}

TRAINED: dict[str, dict[str, Any]] = {
    "ArcFace, margin 0.5, scale 30": {
        "head": {"kind": "linear", "dropout": 0.2},
        "loss": {"kind": "arcface", "margin": 0.5, "scale": 30},
        "training": UNIFEX,
    },
    "normalised softmax, scale 16": {
        "head": {"kind": "linear", "dropout": 0.5},
        "loss": {"kind": "normalised-softmax", "scale": 16},
        "training": LONGER | {"weight_decay": 3e-3},
    },
    "ArcFace, margin 0.2, scale 16": {
        "head": {"kind": "linear", "dropout": 0.2},
        "loss": {"kind": "arcface", "margin": 0.2, "scale": 16},
        "training": UNIFEX,
    },
}


class Candidate(Strict):
    """One of the heads, and what it scored."""

    name: str

    folds: list[float]
    """Its mMP@5 on the classes held out of each fold that it was fitted in: fractions, means over the domains."""

    impossible: str | None = None
    """Why it cannot be fitted on these images."""

    @property
    def mean(self) -> float:
        return sum(self.folds) / len(self.folds)


class Choice(Strict):
    """What was chosen, and by what."""

    chosen: str
    why: str
    candidates: list[Candidate]
    """Empty where nothing was measured, since there are too few classes."""


def candidates(
    config: ClosedFormConfig, dim: int, teacher: int, shrinkages: Mapping[float, float], classes_a_domain: float
) -> dict[str, RunConfig]:
    """By name. The first is what is taken unless another one is better beyond chance: the discriminant of the first
    power, of two stages where a domain has some classes, but not many; PCA-whitening where there is none.

    `teacher`: dimensions of the first of two stages. `shrinkages`: of the discriminant of each power; none where the
    classes do not tell.
    """
    closed: dict[str, Any] = {}
    for power, shrinkage in shrinkages.items():
        name = f"discriminant, shrinkage {shrinkage:g}, power {power:g}"
        head = {"kind": "discriminant", "dim": dim, "shrinkage": shrinkage, "power": power}
        staged = {"kind": "distilled", "dim": dim, "teacher": head | {"dim": teacher}}
        found = {name: head} | ({f"two stages: {name}": staged} if teacher > dim else {})
        closed |= dict(reversed(found.items())) if SOME <= classes_a_domain < MANY else found
    closed["PCA-whitening"] = {"kind": "pca-whitening", "dim": dim}
    heads: dict[str, dict[str, Any]] = {name: {"head": head} for name, head in closed.items()}
    trained = {name: row | {"head": row["head"] | {"dim": dim}} for name, row in TRAINED.items()}
    return {name: _configured(config, row) for name, row in (heads | trained).items()}


def _configured(config: ClosedFormConfig, row: dict[str, Any]) -> RunConfig:
    """A run on the same features, with the same seed."""
    kept = config.model_dump(exclude={"head", "unscored"})
    return read_run_config(kept | row)


def epochs_of(configs: dict[str, RunConfig]) -> int:
    """Of training, in all."""
    return sum(config.training.length.count for config in configs.values() if isinstance(config, TrainedConfig))
