"""Linear heads: a linear map with what stands around it in the papers: dropout, L2 normalisation, batch normalisation.

Initial values and dropout draw from a generator of the head's own, so a seed gives the same bits whatever ran before.

    generator = torch.Generator().manual_seed(0)
    head = LinearHead(uniform(1152, 64, generator), uniform_bias(1152, 64, generator), generator, dropout=0.2)
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from probe.heads.pca import PCA
from probe.heads.pooling import AveragePooling

REDUCED_FROM = 131_072  # images that PCA is fitted on; GUIEC's 6th place had 130k
BLOCK_ROWS = 16384


class LinearHead(nn.Module):
    """(B, D) float32 -> (B, d): [L2 ->] [dropout ->] x Wᵀ + b [-> L2].

    `weight` (d, D) and `bias` (d,) are the initial values; they become parameters. `generator` lives on the device of
    the features and is used in training mode only, for dropout.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        generator: torch.Generator,
        *,
        dropout: float = 0.0,
        l2_input: bool = False,
        l2_output: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.generator, self.dropout = generator, dropout
        self.l2_input, self.l2_output = l2_input, l2_output

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.l2_input:
            features = _unit(features)
        if self.training and self.dropout > 0:
            draw = torch.rand(features.shape, generator=self.generator, device=features.device)
            features = features * (draw >= self.dropout) / (1 - self.dropout)
        embeddings = F.linear(features, self.weight, self.bias)
        return _unit(embeddings) if self.l2_output else embeddings


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows L2-normalised. One of zeros stays as it is and gets no gradient: it has no direction to turn."""
    return F.normalize(rows, dim=1) * rows.any(dim=1, keepdim=True)


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
        return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, training=of_batch)


class BatchNormLinear(nn.Module):
    """Batch normalisation, then a linear head; in eval mode a reduction brings its embeddings to their final length.

    (B, D) -> (B, hidden) in training mode, (B, d) in eval mode. The loss sees the former, the search the latter; PCA
    has to be fitted in between (`refit`).
    """

    def __init__(self, norm: BatchNorm, linear: LinearHead, reduction: PCA | AveragePooling) -> None:
        super().__init__()
        self.norm, self.linear, self.reduction = norm, linear, reduction

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        embeddings = self.linear(self.norm(features))
        return embeddings if self.training else self.reduction(embeddings)

    def rows_to_fit(self, images: int) -> np.ndarray:
        """(n,) int64 rows of the training features that `refit` takes: at most 131,072, evenly spaced.

        None for pooling, which has nothing to fit.
        """
        return np.arange(0, images if isinstance(self.reduction, PCA) else 0, -(-images // REDUCED_FROM))

    @torch.no_grad()
    def refit(self, features: torch.Tensor) -> None:
        """Fits PCA on the embeddings of (n, D) training features.

        Raises UsageError when the embeddings span fewer than d directions.
        """
        if isinstance(self.reduction, PCA):
            self.eval()
            blocks = [self.linear(self.norm(block.float())) for block in features.split(BLOCK_ROWS)]
            self.reduction.refit(torch.cat(blocks))
