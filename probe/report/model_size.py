"""How many parameters the model of a row has, counted from its configuration: no weights, no features, no run.

Trained are the head (D x d weights and d biases) and the loss's class matrix (C x K x d); with the backbones, that is
all. A class matrix is needed for training alone: without it, a deployed model is smaller.

    model_size(row, classes=34_800)      # ModelSize(total=434980992, trained=6755392)
"""

from typing import NamedTuple

from probe.data import CLASS
from probe.extract import CachedFeatures
from probe.fit import RunConfig, TrainedConfig
from probe.recipes import Row

SIZE_COLUMN = "model size"  # of a table


class ModelSize(NamedTuple):
    """Numbers of parameters."""

    total: int
    trained: int


def model_size(row: Row, classes: int | None) -> ModelSize | None:
    """None where the row has no runs or trains several models, and where a backbone's size, the features' length or the
    number of classes is not known, or what a user's own head or loss has of them."""
    if not row.runs or row.specialists:
        return None
    run = row.runs[0]
    backbones = [backbone.row for backbone in row.backbones if backbone.name in run.stores("test")]
    sizes, dims = ([getattr(backbone, name) for backbone in backbones] for name in ("params", "dim"))
    if None in sizes or None in dims or (isinstance(run, TrainedConfig) and classes is None):
        return None
    trained = _trained(run, sum(dims) + len(run.append), classes or 0)
    return None if trained is None else ModelSize(sum(sizes) + trained, trained)


def training_classes(features: CachedFeatures) -> int:
    """How many there are; none where no training images are read."""
    return features.frame("train").select(CLASS).n_unique() if "train" in features.splits else 0


def _trained(run: RunConfig, dim: int, classes: int) -> int | None:
    """`dim`: length of the features, D."""
    if not isinstance(run, TrainedConfig):
        return 0
    head, loss = run.head.weights(dim), run.loss.weights(classes, run.head.loss_dim)
    return None if head is None or loss is None else head + loss
