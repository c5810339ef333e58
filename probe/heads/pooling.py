"""Heads without parameters: the features as they are, and their average pooling over channels.

AveragePooling(64)(features)     # (B, 1152) -> (B, 64), each the mean of 18 consecutive channels
"""

import torch
from torch import nn
from torch.nn import functional as F


class FullDimension(nn.Module):
    """(B, D) -> (B, D), unchanged."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


class AveragePooling(nn.Module):
    """(B, D) -> (B, dim): the zero-shot "pooling" of UniFEx Table 3 (AdaptiveAvgPool1d over the channels)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool1d(features.unsqueeze(1), self.dim).squeeze(1)
