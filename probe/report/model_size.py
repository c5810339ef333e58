"""How many parameters the model of a row has, counted from its configuration: no weights, no features, no run.

In total these are the backbones, the head (D x d weights and d biases, or what else it is made of) and the loss's class
matrix (C x K x d). A class matrix is needed for training alone, so that a deployed model is without it. Trained are the
head and the class matrix; what is drawn or fitted in closed form, such as a PCA, is deployed and not trained.

    model_size(row, classes=34_800)      # ModelSize(total=434980992, deployed=428299392, trained=6755392)
"""

from typing import NamedTuple

import torch

from probe.data import CLASS
from probe.errors import UsageError
from probe.extract import CachedFeatures
from probe.fit import RunConfig, TrainedConfig
from probe.heads import HeadConfig, build_head
from probe.recipes import Row

SIZE_COLUMN = "model size"  # of a table


class ModelSize(NamedTuple):
    """Numbers of parameters."""

    total: int
    deployed: int
    trained: int


def model_size(row: Row, classes: int | None) -> ModelSize | None:
    """None where the row has no runs or trains several models, and where a backbone's size, the features' length or the
    number of classes is not known, or what a user's own loss has of them."""
    if not row.runs or row.specialists:
        return None
    run = row.runs[0]
    backbones = [backbone.row for backbone in row.backbones if backbone.name in run.stores("test")]
    sizes, dims = ([getattr(backbone, name) for backbone in backbones] for name in ("params", "dim"))
    if None in sizes or None in dims:
        return None
    head = _head_size(run.head, sum(dims) + len(run.append))
    matrix = _class_matrix(run, classes)
    if head is None or matrix is None:
        return None
    deployed = sum(sizes) + head.all
    return ModelSize(deployed + matrix, deployed, head.trained + matrix)


def training_classes(features: CachedFeatures) -> int:
    """How many there are; none where no training images are read."""
    return features.frame("train").select(CLASS).n_unique() if "train" in features.splits else 0


class _HeadSize(NamedTuple):
    all: int
    trained: int


def _head_size(config: HeadConfig, dim: int) -> _HeadSize | None:
    """Of the head as it is built for features of length `dim`; None where these are too short for it."""
    try:
        head = build_head(config, dim, torch.Generator().manual_seed(0))
    except UsageError:
        return None
    trained = sum(weights.numel() for weights in head.parameters())
    return _HeadSize(sum(weights.numel() for weights in head.state_dict().values()), trained)


def _class_matrix(run: RunConfig, classes: int | None) -> int | None:
    if not isinstance(run, TrainedConfig):
        return 0
    return None if classes is None else run.loss.weights(classes, run.head.loss_dim)
