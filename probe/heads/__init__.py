"""The heads, a file each: (B, D) features -> (B, d) embeddings. Some are trained, some fitted at once or not at all.

A new file here, or a class of the user's named `package.module:Class`, is a head like these (docs/heads.md).

    config = Linear(dim=64)                # its Config, as a recipe has it: {kind: linear, dim: 64}
    head = build_head(config, in_dim=1152, generator=generator)
    head = Linear(1152, 64, generator, dropout=0.2)            # the same
"""

from typing import TYPE_CHECKING

from probe.heads.auto import Auto
from probe.heads.average_pooling import AveragePooling
from probe.heads.base import (
    HEADS,
    ClosedFormHead,
    FixedHead,
    Head,
    LastStep,
    Normalize,
    SignedPower,
    TrainedHead,
    build_head,
    linear_layer,
    load_head,
    save_head,
)
from probe.heads.batch_norm_linear import BatchNorm, BatchNormLinear
from probe.heads.discriminant import Discriminant
from probe.heads.distilled import Distilled
from probe.heads.full_dimension import FullDimension
from probe.heads.initialization import (
    gaussian,
    lecun_normal,
    lecun_uniform,
    orthogonal,
    uniform,
    uniform_bias,
    xavier_uniform,
)
from probe.heads.l2_linear_l2 import L2LinearL2
from probe.heads.linear import Linear, LinearHead
from probe.heads.linear_l2 import LinearL2
from probe.heads.pca import PCA, PCAWhitening, covariance_of, fixed_signs
from probe.heads.random_projection import RandomProjection
from probe.heads.shrinkage import likeliest_shrinkage
from probe.heads.training_images import TrainingImages

if TYPE_CHECKING:
    HeadConfig = Head.Config
else:
    HeadConfig = HEADS.union()

__all__ = [
    "HEADS",
    "PCA",
    "Auto",
    "AveragePooling",
    "BatchNorm",
    "BatchNormLinear",
    "ClosedFormHead",
    "Discriminant",
    "Distilled",
    "FixedHead",
    "FullDimension",
    "Head",
    "HeadConfig",
    "L2LinearL2",
    "LastStep",
    "Linear",
    "LinearHead",
    "LinearL2",
    "Normalize",
    "PCAWhitening",
    "RandomProjection",
    "SignedPower",
    "TrainedHead",
    "TrainingImages",
    "build_head",
    "covariance_of",
    "fixed_signs",
    "gaussian",
    "lecun_normal",
    "lecun_uniform",
    "likeliest_shrinkage",
    "linear_layer",
    "load_head",
    "orthogonal",
    "save_head",
    "uniform",
    "uniform_bias",
    "xavier_uniform",
]
