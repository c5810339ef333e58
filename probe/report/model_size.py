"""How many parameters the model of a row has, counted from its configuration: no weights, no features, no run.

Trained are the head (D x d weights and d biases) and the loss's class matrix (C x K x d); with the backbones, that is
all. A class matrix is needed for training alone: without it, a deployed model is smaller.

    model_size(row, classes=34_800)      # ModelSize(total=434980992, trained=6755392)
"""

from typing import NamedTuple

from probe.fit import TrainedConfig
from probe.recipes import Row

SIZE_COLUMN = "model size"  # of a table


class ModelSize(NamedTuple):
    """Numbers of parameters."""

    total: int
    trained: int


def model_size(row: Row, classes: int | None) -> ModelSize | None:
    """None where the row has no runs or trains several models, and where a backbone's size, the features' length or the
    number of classes is not known, or how many parameters a user's own head or loss has."""
    if not row.runs or row.specialists:
        return None
    run = row.runs[0]
    backbones = [backbone.row for backbone in row.backbones if backbone.name in run.stores("test")]
    sizes, dims = ([getattr(backbone, name) for backbone in backbones] for name in ("params", "dim"))
    if None in sizes or None in dims or (isinstance(run, TrainedConfig) and classes is None):
        return None
    if not isinstance(run, TrainedConfig):
        return ModelSize(sum(sizes), 0)
    head = run.head.weights(sum(dims) + len(run.append))
    matrix = run.loss.weights(classes or 0, run.head.loss_dim)
    return None if head is None or matrix is None else ModelSize(sum(sizes) + head + matrix, head + matrix)
