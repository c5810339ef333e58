"""PCA, plain and with whitening, as UnED uses it to bring off-the-shelf features to 64 dimensions.

head = PCAWhitening.fit(train_features, dim=64)
head(features)      # (B, D) -> (B, 64)
"""

from collections.abc import Iterator
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError

BLOCK_ROWS = 65536
NO_VARIANCE = 1e-24  # of unit vectors, in float64: rounding


class PCA(nn.Module):
    """(B, D) -> (B, d): L2-normalise, centre, project on the leading eigenvectors.

    P = Vᵀ, of the covariance XᵀX/n of centred, L2-normalised features.
    """

    title = "PCA"
    mean: torch.Tensor
    projection: torch.Tensor

    def __init__(self, in_dim: int, dim: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_dim, device=device))
        self.register_buffer("projection", torch.zeros(dim, in_dim, device=device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (F.normalize(features, dim=1) - self.mean) @ self.projection.T

    @classmethod
    def fit(cls, features: torch.Tensor, dim: int) -> Self:
        """Fits on (N, D) features, in float64. Raises UsageError when they span fewer than `dim` directions."""
        head = cls(features.shape[1], dim, features.device)
        head.refit(features)
        return head

    def refit(self, features: torch.Tensor) -> None:
        """Fits this head, on its device, anew; as `fit`."""
        count, in_dim = features.shape
        dim = len(self.projection)
        mean = torch.zeros(in_dim, dtype=torch.float64, device=features.device)
        for block in _normalized_blocks(features):
            mean += block.sum(0) / count
        covariance = torch.zeros(in_dim, in_dim, dtype=torch.float64, device=features.device)
        for block in _normalized_blocks(features):
            centred = block - mean
            covariance += centred.T @ centred / count
        values, vectors = torch.linalg.eigh(covariance)
        rank = int((values > max(float(values[-1]) * 1e-10, NO_VARIANCE)).sum())
        if rank < dim:
            raise UsageError(
                f"{self.title} to {dim} dimensions: the {count:,} training features span only {rank}; lower head.dim."
            )
        leading = values.argsort(descending=True)[:dim]
        self.mean.copy_(mean)
        self.projection.copy_(_fixed_signs(self._scaled(vectors[:, leading].T, values[leading])))

    def _scaled(self, directions: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        return directions


class PCAWhitening(PCA):
    """PCA, its directions scaled to unit variance: P = Λ^(-1/2) Vᵀ (UnED section 4.1 and its code)."""

    title = "PCA-whitening"

    def _scaled(self, directions: torch.Tensor, variances: torch.Tensor) -> torch.Tensor:
        return directions / variances[:, None].sqrt()


def _normalized_blocks(features: torch.Tensor) -> Iterator[torch.Tensor]:
    for block in features.split(BLOCK_ROWS):
        yield F.normalize(block.double(), dim=1)


def _fixed_signs(projection: torch.Tensor) -> torch.Tensor:
    """Eigenvectors are defined up to their sign; the largest entry of each is made positive."""
    largest = projection.abs().argmax(dim=1, keepdim=True)
    return projection * projection.gather(1, largest).sign()
