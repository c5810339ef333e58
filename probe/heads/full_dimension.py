"""The backbone's features as they are: FullDimension(1152)(features)."""

from typing import Any, Literal, Self

import torch
from torch import nn

from probe.heads.base import HEADS, FixedHead


@HEADS.register
class FullDimension(FixedHead):
    """(B, D) -> (B, D), unchanged (UnED Table 4, off-the-shelf)."""

    class Config(FixedHead.Config):
        kind: Literal["full-dimension"] = "full-dimension"

        @property
        def drawn(self) -> bool:
            return False

    def __init__(self, in_dim: int) -> None:
        super().__init__()

    @classmethod
    def build(cls, config: Any, in_dim: int, generator: torch.Generator) -> Self:
        return cls(in_dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def layers(self) -> list[nn.Module]:
        return []
