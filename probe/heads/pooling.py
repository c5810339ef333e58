"""Heads without parameters: the features as they are, and their average pooling over channels.

AveragePooling(1152, 64)(features)     # (B, 1152) -> (B, 64), each the mean of 18 consecutive channels
"""

import torch
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError


class FullDimension(nn.Module):
    """(B, D) -> (B, D), unchanged."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


class AveragePooling(nn.Module):
    """(B, D) -> (B, dim): the zero-shot "pooling" of UniFEx Table 3 (AdaptiveAvgPool1d over the channels)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        if dim > in_dim:
            raise UsageError(f"average pooling to {dim} dimensions: the features have only {in_dim}; lower head.dim.")
        self.dim = dim

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool1d(features.unsqueeze(1), self.dim).squeeze(1)
