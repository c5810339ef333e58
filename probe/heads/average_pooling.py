"""Average pooling over channels.

AveragePooling(1152, 64)(features)     # (B, 1152) -> (B, 64), each the mean of 18 consecutive channels
"""

from typing import Literal, Self

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError
from probe.heads.base import HEADS, FixedHead, linear_layer


@HEADS.register
class AveragePooling(FixedHead):
    """(B, D) -> (B, dim): the zero-shot "pooling" of UniFEx Table 3 (AdaptiveAvgPool1d over the channels).

    Means of D/d consecutive channels; windows overlap where d does not divide D. Raises UsageError when d > D.
    """

    class Config(FixedHead.Config):
        kind: Literal["average-pooling"] = "average-pooling"
        dim: PositiveInt = 64

        @property
        def drawn(self) -> bool:
            return False

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        if dim > in_dim:
            raise UsageError(f"average pooling to {dim} dimensions: the features have only {in_dim}; lower head.dim.")
        self.in_dim, self.dim = in_dim, dim

    @classmethod
    def build(cls, config: "Config", in_dim: int, generator: torch.Generator) -> Self:
        return cls(in_dim, config.dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool1d(features.unsqueeze(1), self.dim).squeeze(1)

    def layers(self) -> list[nn.Module]:
        return [linear_layer(self(torch.eye(self.in_dim)).T, None)]
