"""How many parameters the model of a row has, counted from its configuration: no weights, no features, no run.

Trained are the head (D x d weights and d biases) and the loss's class matrix (C x K x d); with the backbones, that is
all. A class matrix is needed for training alone: without it, a deployed model is smaller.

    model_size(row, classes=34_800)      # ModelSize(total=434980992, trained=6755392)
"""

from typing import NamedTuple

from probe.fit import TrainedConfig
from probe.heads.config import BatchNormLinear, Trained, loss_dim
from probe.losses.config import LossConfig, Softmax
from probe.recipes import Row

SIZE_COLUMN = "model size"  # of a table


class ModelSize(NamedTuple):
    """Numbers of parameters."""

    total: int
    trained: int


def model_size(row: Row, classes: int | None) -> ModelSize | None:
    """None where the row has no runs or trains several models, and where a backbone's size, the features' length or the
    number of classes is not known."""
    if not row.runs or row.specialists:
        return None
    run = row.runs[0]
    backbones = [backbone.row for backbone in row.backbones if backbone.name in run.stores("test")]
    sizes, dims = ([getattr(backbone, name) for backbone in backbones] for name in ("params", "dim"))
    if None in sizes or None in dims or (isinstance(run, TrainedConfig) and classes is None):
        return None
    trained = 0
    if isinstance(run, TrainedConfig) and isinstance(run.head, Trained):
        trained = _trained(run.head, run.loss, sum(dims) + len(run.append), classes or 0)
    return ModelSize(sum(sizes) + trained, trained)


def _trained(head: Trained, loss: LossConfig, dim: int, classes: int) -> int:
    """`dim`: length of the features, D."""
    norm = 2 * dim if isinstance(head, BatchNormLinear) else 0
    bias = classes if isinstance(loss, Softmax) and loss.bias else 0
    return norm + (dim + 1) * loss_dim(head) + classes * getattr(loss, "sub_centers", 1) * loss_dim(head) + bias
