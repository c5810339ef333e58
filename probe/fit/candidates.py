"""The heads that `head: auto` chooses among, as configurations of runs, and what they scored.

candidates(config, dim=64, classes_a_domain=40.0)      # by name; the first one is the default
"""

from typing import Any

from probe.fit.config import ClosedFormConfig, RunConfig, TrainedConfig, read_run_config
from probe.validation import Strict

FEW = 2.0  # classes a domain: below, how images of one class differ is not known apart from how domains do
SOME = 4.0  # classes a domain: below, it is known badly
STUDENT = 256  # dimensions of the first of two stages
UNIFEX = {"epochs": 10, "batch": 128, "lr": 0.01, "lr_min": 0.001, "warmup_epochs": 1, "weight_decay": 1e-4}
LONGER = UNIFEX | {"epochs": 20}

CLOSED: dict[str, dict[str, Any]] = {
    f"discriminant, shrinkage {shrinkage:g}, power {power:g}": {"shrinkage": shrinkage, "power": power}
    for power in (0.5, 1.0)
    for shrinkage in (1.0, 0.3, 3.0, 10.0)
}
STAGED = [name for name, options in CLOSED.items() if options["shrinkage"] <= 1]
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


def candidates(config: ClosedFormConfig, dim: int, classes_a_domain: float) -> dict[str, RunConfig]:
    """By name. The first is what is taken unless another one is better beyond chance: PCA-whitening where domains have
    one class each, else a discriminant, which shrinks the more the fewer classes there are."""
    closed = {name: {"kind": "discriminant", "dim": dim} | options for name, options in CLOSED.items()}
    staged = {
        f"two stages: {name}": {"kind": "distilled", "dim": dim, "teacher": closed[name] | {"dim": STUDENT}}
        for name in STAGED
        if dim < STUDENT
    }
    plain = {"PCA-whitening": {"kind": "pca-whitening", "dim": dim}, "PCA": {"kind": "pca", "dim": dim}}
    heads: dict[str, dict[str, Any]] = {name: {"head": head} for name, head in (closed | staged | plain).items()}
    trained = {name: row | {"head": row["head"] | {"dim": dim}} for name, row in TRAINED.items()}
    found = {name: _configured(config, row) for name, row in (heads | trained).items()}
    shrinkage = 1 if classes_a_domain >= SOME else 3
    default = "PCA-whitening" if classes_a_domain < FEW else f"discriminant, shrinkage {shrinkage}, power 0.5"
    return {default: found[default]} | found


def _configured(config: ClosedFormConfig, row: dict[str, Any]) -> RunConfig:
    """A run on the same features, with the same seed."""
    kept = config.model_dump(exclude={"head", "unscored"})
    return read_run_config(kept | row)


def epochs_of(configs: dict[str, RunConfig]) -> int:
    """Of training, in all."""
    return sum(config.training.length.count for config in configs.values() if isinstance(config, TrainedConfig))
