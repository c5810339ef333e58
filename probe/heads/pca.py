"""PCA with whitening, as UnED uses it to bring off-the-shelf features to 64 dimensions.

head = PCAWhitening.fit(train_features, dim=64)
head(features)      # (B, D) -> (B, 64)
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError

BLOCK_ROWS = 65536
NO_VARIANCE = 1e-24  # of unit vectors, in float64: rounding


class PCAWhitening(nn.Module):
    """(B, D) -> (B, d): L2-normalise, centre, project on the leading eigenvectors scaled to unit variance.

    P = Λ^(-1/2) Vᵀ of the covariance XᵀX/n of centred, L2-normalised features (UnED section 4.1 and its code).
    """

    mean: torch.Tensor
    projection: torch.Tensor

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("projection", torch.zeros(dim, in_dim))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (F.normalize(features, dim=1) - self.mean) @ self.projection.T

    @classmethod
    def fit(cls, features: torch.Tensor, dim: int) -> "PCAWhitening":
        """Fits on (N, D) features, in float64. Raises UsageError when they span fewer than `dim` directions."""
        count, in_dim = features.shape
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
                f"PCA-whitening to {dim} dimensions: the {count:,} training features span only {rank}; lower head.dim."
            )
        leading = values.argsort(descending=True)[:dim]
        projection = vectors[:, leading].T / values[leading, None].sqrt()
        head = cls(in_dim, dim).to(features.device)
        head.mean.copy_(mean)
        head.projection.copy_(_fixed_signs(projection))
        return head


def _normalized_blocks(features: torch.Tensor) -> Iterator[torch.Tensor]:
    for block in features.split(BLOCK_ROWS):
        yield F.normalize(block.double(), dim=1)


def _fixed_signs(projection: torch.Tensor) -> torch.Tensor:
    """Eigenvectors are defined up to their sign; the largest entry of each is made positive."""
    largest = projection.abs().argmax(dim=1, keepdim=True)
    return projection * projection.gather(1, largest).sign()
