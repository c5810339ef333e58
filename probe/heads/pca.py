"""PCA, plain and with whitening, as UnED uses it to bring off-the-shelf features to 64 dimensions.

head = PCAWhitening(1152, dim=64, generator=torch.Generator()).fit(images)
head(features)      # (B, D) -> (B, 64)
"""

from collections.abc import Iterable, Iterator
from typing import Literal, Self

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError
from probe.heads.base import HEADS, ClosedFormHead, Normalize, linear_layer
from probe.heads.training_images import TrainingImages

BLOCK_ROWS = 65536
NO_VARIANCE = 1e-24  # of unit vectors, in float64: rounding


@HEADS.register
class PCA(ClosedFormHead):
    """(B, D) -> (B, d): L2-normalise, centre, project on the leading eigenvectors.

    P = Vᵀ, of the covariance XᵀX/n of centred, L2-normalised features.
    """

    class Config(ClosedFormHead.Config):
        kind: Literal["pca"] = "pca"
        dim: PositiveInt = 64

        @property
        def drawn(self) -> bool:
            return False

    title = "PCA"
    mean: torch.Tensor
    projection: torch.Tensor

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_dim, device=generator.device))
        self.register_buffer("projection", torch.zeros(dim, in_dim, device=generator.device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (F.normalize(features, dim=1) - self.mean) @ self.projection.T

    def layers(self) -> list[nn.Module]:
        return [Normalize(), linear_layer(self.projection, -self.projection.double() @ self.mean.double())]

    def fit(self, images: TrainingImages) -> Self:
        """In float64. Raises UsageError when the features span fewer than `dim` directions."""
        features = images.take(self._rows(images))
        count, in_dim = features.shape
        dim = len(self.projection)
        mean = torch.zeros(in_dim, dtype=torch.float64, device=features.device)
        for block in _normalized_blocks(features):
            mean += block.sum(0) / count
        covariance = torch.zeros(in_dim, in_dim, dtype=torch.float64, device=features.device)
        for block in _normalized_blocks(features):
            centred = block - mean
            covariance += centred.T @ centred / count
        values, vectors = spanned(
            covariance, dim, dim, f"{self.title} to {dim} dimensions: the {count:,} training features"
        )
        self.mean.copy_(mean)
        self.projection.copy_(fixed_signs(self._scaled(vectors.T, values)))
        return self

    def _rows(self, images: TrainingImages) -> np.ndarray:
        """(n,) Those of the images that it is fitted on."""
        return np.arange(len(images))

    def _scaled(self, directions: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        return directions


@HEADS.register
class PCAWhitening(PCA):
    """PCA, its directions scaled to unit variance: P = Λ^(-1/2) Vᵀ (UnED section 4.1, PCAw, and its code)."""

    class Config(ClosedFormHead.Config):
        kind: Literal["pca-whitening"] = "pca-whitening"
        dim: PositiveInt = 64
        per_domain: NonNegativeInt = 9000
        """It is fitted on at most so many random training images of each domain; 0 takes all."""

        @property
        def drawn(self) -> bool:
            return self.per_domain > 0

    title = "PCA-whitening"

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator, per_domain: int = 9000) -> None:
        super().__init__(in_dim, dim, generator)
        self.generator, self.per_domain = generator, per_domain

    def _rows(self, images: TrainingImages) -> np.ndarray:
        return np.sort(np.concatenate([self._drawn(rows) for rows in images.domains]))

    def _drawn(self, rows: np.ndarray) -> np.ndarray:
        if not 0 < self.per_domain < len(rows):
            return rows
        drawn = torch.randperm(len(rows), generator=self.generator, device=self.generator.device)[: self.per_domain]
        return rows[drawn.cpu().numpy()]

    def _scaled(self, directions: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        return directions / variances[:, None].sqrt()


def _normalized_blocks(features: torch.Tensor) -> Iterator[torch.Tensor]:
    for block in features.split(BLOCK_ROWS):
        yield F.normalize(block.double(), dim=1)


def covariance_of(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """(m, m) Of the rows of (n, m) float64 blocks, one block or more."""
    count, total, moments = 0, torch.zeros(()), torch.zeros(())
    for block in blocks:
        count += len(block)
        total, moments = total.to(block) + block.sum(0), moments.to(block) + block.T @ block
    mean = total / count
    return moments / count - mean.outer(mean)


def spanned(covariance: torch.Tensor, least: int, most: int, what: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(D, D) -> (m,) leading variances, at most `most`, and their (D, m) eigenvectors, in descending order.

    Raises UsageError, about `what`, where fewer than `least` are above rounding.
    """
    values, vectors = torch.linalg.eigh(covariance)
    rank = int((values > max(float(values[-1]) * 1e-10, NO_VARIANCE)).sum())
    if rank < least:
        raise UsageError(f"{what} span only {rank}; lower head.dim.")
    leading = values.argsort(descending=True)[: min(rank, most)]
    return values[leading], vectors[:, leading]


def fixed_signs(projection: torch.Tensor) -> torch.Tensor:
    """Eigenvectors are defined up to their sign; the largest entry of each is made positive."""
    largest = projection.abs().argmax(dim=1, keepdim=True)
    return projection * projection.gather(1, largest).sign()
