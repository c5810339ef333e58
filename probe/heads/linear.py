"""Linear heads: the trained one of UniFEx and its untrained twin, the random projection.

Initialisation and dropout draw from a generator of the head's own, so a seed gives the same bits whatever ran before.

    head = DropoutLinear(1152, 64, dropout=0.2, generator=torch.Generator().manual_seed(0))
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class DropoutLinear(nn.Module):
    """Dropout on raw features, then D -> d with bias (UniFEx section 3.2). Weight and bias start in U(±1/sqrt(D)).

    (B, D) float32 -> (B, d). `generator` lives on the device of the features and is used in training mode only.
    """

    def __init__(self, in_dim: int, dim: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_dim)
        uniform = {"generator": generator, "device": generator.device}
        self.weight = nn.Parameter((torch.rand(dim, in_dim, **uniform) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(dim, **uniform) * 2 - 1) * bound)
        self.dropout = dropout
        self.generator = generator

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.training and self.dropout > 0:
            draw = torch.rand(features.shape, generator=self.generator, device=features.device)
            features = features * (draw >= self.dropout) / (1 - self.dropout)
        return F.linear(features, self.weight, self.bias)
