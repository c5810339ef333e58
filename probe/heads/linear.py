"""Linear heads: a linear map with what stands around it in the papers: dropout, L2 normalisation.

Initial values and dropout draw from a generator of the head's own, so a seed gives the same bits whatever ran before.

    Linear(1152, 64, torch.Generator().manual_seed(0), dropout=0.2)
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from probe.heads.base import HEADS, Normalize, TrainedHead, linear_layer
from probe.heads.initialization import uniform, uniform_bias

Dropout = Annotated[float, Field(ge=0, lt=1)]


class LinearHead(TrainedHead):
    """(B, D) float32 -> (B, d): `[L2 ->] [dropout ->] x Wᵀ + b [-> L2]`.

    `weight` (d, D) and `bias` (d,) are the initial values; they become parameters. `generator` lives on the device of
    the features and is used in training mode only, for dropout.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        generator: torch.Generator,
        *,
        dropout: float = 0.0,
        l2_input: bool = False,
        l2_output: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
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

    def layers(self) -> list[nn.Module]:
        normalize: list[nn.Module] = [Normalize()]
        return normalize * self.l2_input + [linear_layer(self.weight, self.bias)] + normalize * self.l2_output


@HEADS.register
class Linear(LinearHead):
    """Dropout, then a linear layer with bias, initialised as PyTorch does: the trained head of UniFEx (section 3.2)."""

    class Config(LinearHead.Config):
        options_of_training: ClassVar[frozenset[str]] = frozenset({"dropout"})

        kind: Literal["linear"] = "linear"
        dropout: Dropout = 0.2

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator, dropout: float = 0.2) -> None:
        weight = uniform(in_dim, dim, generator)
        super().__init__(weight, uniform_bias(in_dim, dim, generator), generator, dropout=dropout)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows L2-normalised. One of zeros stays as it is and gets no gradient: it has no direction to turn."""
    return F.normalize(rows, dim=1) * rows.any(dim=1, keepdim=True)
