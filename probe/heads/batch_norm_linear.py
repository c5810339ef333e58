"""GUIEC's 6th place: batch normalisation, dropout and a linear layer, reduced after training.

head = BatchNormLinear(1152, dim=64, hidden=256, generator=generator)
head.train()(features)      # (B, 256), for the loss
head.eval()(features)       # (B, 64), for the search
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from torch import nn
from torch.nn import functional as F

from probe.heads.average_pooling import AveragePooling
from probe.heads.base import HEADS, TrainedHead, linear_layer
from probe.heads.linear import Dropout, Linear
from probe.heads.pca import PCA
from probe.heads.training_images import Take, TrainingImages

REDUCED_FROM = 131_072  # images that PCA is fitted on; GUIEC's 6th place had 130k
BLOCK_ROWS = 16384
EPSILON = 1e-5

Reduction = Literal["pca", "average-pooling"]


class BatchNorm(nn.Module):
    """(B, D) -> (B, D): γ (x - mean) / sqrt(var + ε) + β for each channel (Ioffe and Szegedy 2015, algorithm 1).

    Mean and variance are those of the batch in training mode, and the running ones in eval mode. A batch of one image
    has no variance: it takes the running ones, and leaves them as they are.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, dim: int, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, device=device))
        self.bias = nn.Parameter(torch.zeros(dim, device=device))
        self.register_buffer("running_mean", torch.zeros(dim, device=device))
        self.register_buffer("running_var", torch.ones(dim, device=device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        of_batch = self.training and len(features) > 1
        return F.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, training=of_batch, eps=EPSILON
        )


@HEADS.register
class BatchNormLinear(TrainedHead):
    """Batch normalisation, then a linear head; in eval mode a reduction brings its embeddings to their final length
    (GUIEC's 6th place, sections 2.1 and 3.3).

    (B, D) -> (B, hidden) in training mode, (B, d) in eval mode. The loss sees the former, the search the latter; PCA
    has to be fitted in between, which is done after each epoch.
    """

    class Config(TrainedHead.Config):
        options_of_training: ClassVar[frozenset[str]] = frozenset({"dropout"})

        kind: Literal["batch-norm-linear"] = "batch-norm-linear"
        hidden: PositiveInt = 256
        dropout: Dropout = 0.2
        reduction: Reduction = "pca"
        """PCA of the training images' embeddings, or the means of consecutive dimensions."""

        @model_validator(mode="after")
        def _reduction_reduces(self) -> "BatchNormLinear.Config":
            if self.dim > self.hidden:
                raise ValueError(f"dim ({self.dim}) is above hidden ({self.hidden})")
            return self

        @property
        def loss_dim(self) -> int:
            return self.hidden

        @property
        def averaging_obstacle(self) -> str | None:
            if self.reduction != "pca":
                return None
            return (
                "ends in a PCA, and directions of different PCAs have no mean; combine an ensemble, or fit with "
                "`reduction: average-pooling`."
            )

    def __init__(
        self,
        in_dim: int,
        dim: int,
        hidden: int,
        generator: torch.Generator,
        dropout: float = 0.2,
        reduction: Reduction = "pca",
    ) -> None:
        super().__init__()
        self.norm = BatchNorm(in_dim, generator.device)
        self.linear = Linear(in_dim, hidden, generator, dropout)
        self.reduction = PCA(hidden, dim, generator) if reduction == "pca" else AveragePooling(hidden, dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        embeddings = self.linear(self.norm(features))
        return embeddings if self.training else self.reduction(embeddings)

    def layers(self) -> list[nn.Module]:
        """The normalisation becomes a part of the linear layer: W (s x + t) + b, with s = γ / sqrt(var + ε)."""
        scale = self.norm.weight.double() / (self.norm.running_var.double() + EPSILON).sqrt()
        shift = self.norm.bias - self.norm.running_mean * scale
        weight = self.linear.weight.double()
        return [linear_layer(weight * scale, self.linear.bias + weight @ shift), *self.reduction.layers()]

    def after_epoch(self, images: int, take: Take) -> None:
        """Fits PCA on at most 131,072 images, evenly spaced; pooling has nothing to fit."""
        if isinstance(self.reduction, PCA):
            self.fit_reduction(take(np.arange(0, images, -(-images // REDUCED_FROM))))

    @torch.no_grad()
    def fit_reduction(self, features: torch.Tensor) -> None:
        """On the embeddings of (n, D) training features. Raises UsageError when they span fewer than d directions."""
        self.eval()
        blocks = [self.linear(self.norm(block.float())) for block in features.split(BLOCK_ROWS)]
        self.reduction.fit(TrainingImages.of(torch.cat(blocks)))
