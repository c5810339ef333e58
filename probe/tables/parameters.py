"""How many parameters the model of a row has, counted from its configuration: no weights, no features, no run.

Trainable are the head (D x d weights and d biases) and the loss's class matrix (C x K x d); with the backbones, that is
all. A class matrix is needed for training alone: without it, what is deployed is smaller.

    parameters(row, classes=34_800)      # {"total parameters": 434980992, "trainable parameters": 6755392}
"""

from probe.fit.config import RunConfig
from probe.heads.config import BatchNormLinear, loss_dim
from probe.losses.config import Softmax
from probe.tables.row import Row
from probe.tables.shown import PARAMETERS

SIZE = "model size"  # the column


def parameters(row: Row, classes: int | None) -> dict[str, float]:
    """By metric; empty where the row has no runs or trains several models, and where a backbone's size, the features'
    length or the number of classes is not known."""
    if not row.runs or row.specialists:
        return {}
    run = row.runs[0]
    backbones = [backbone.row for backbone in row.backbones if backbone.name in run.stores("test")]
    sizes, dims = ([getattr(backbone, name) for backbone in backbones] for name in ("params", "dim"))
    if None in sizes or None in dims or (run.trained and classes is None):
        return {}
    trained = _head(run, sum(dims) + len(run.append)) + _class_matrix(run, classes or 0)
    return dict(zip(PARAMETERS, (sum(sizes) + trained, trained), strict=True))


def _head(run: RunConfig, dim: int) -> int:
    """`dim`: length of the features, D."""
    if not run.trained:
        return 0
    norm = 2 * dim if isinstance(run.head, BatchNormLinear) else 0
    return norm + (dim + 1) * loss_dim(run.head)  # type: ignore[arg-type]


def _class_matrix(run: RunConfig, classes: int) -> int:
    if not run.trained:
        return 0
    bias = classes if isinstance(run.loss, Softmax) and run.loss.bias else 0
    return classes * getattr(run.loss, "sub_centers", 1) * loss_dim(run.head) + bias  # type: ignore[arg-type]
