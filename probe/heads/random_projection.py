"""A random projection: a linear layer as it is initialised, one draw a seed.

RandomProjection(1152, 64, generator, distribution="gaussian", bias=False)
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import nn
from torch.nn import functional as F

from probe.heads.base import HEADS, FixedHead, linear_layer
from probe.heads.initialization import gaussian, orthogonal, uniform, uniform_bias

Distribution = Literal["uniform", "gaussian", "orthogonal"]
DISTRIBUTIONS = {"uniform": uniform, "gaussian": gaussian, "orthogonal": orthogonal}


@HEADS.register
class RandomProjection(FixedHead):
    """(B, D) -> (B, d): x Wᵀ + b.

    The default is PyTorch's, with bias (UniFEx Table 3, "linear"). UnED's supplement (A.5) does not tell its own:
    `gaussian` is N(0, 1/D), `orthogonal` has orthonormal rows. The bias is U(±1/sqrt(D)).
    """

    class Config(FixedHead.Config):
        kind: Literal["random-projection"] = "random-projection"
        dim: PositiveInt = 64
        distribution: Distribution = "uniform"
        bias: bool = True

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        in_dim: int,
        dim: int,
        generator: torch.Generator,
        distribution: Distribution = "uniform",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", DISTRIBUTIONS[distribution](in_dim, dim, generator))
        self.register_buffer("bias", uniform_bias(in_dim, dim, generator) if bias else None)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.linear(features, self.weight, self.bias)

    def layers(self) -> list[nn.Module]:
        return [linear_layer(self.weight, self.bias)]
