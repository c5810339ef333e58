"""ILIAS's linear adaptation: LinearL2(1152, 512, generator)."""

from typing import Literal

import torch
from pydantic import PositiveInt

from probe.heads.base import HEADS
from probe.heads.initialization import xavier_uniform, zeros
from probe.heads.linear import LinearHead


@HEADS.register
class LinearL2(LinearHead):
    """A linear layer with bias, then L2 normalisation: ILIAS's linear adaptation. Xavier-uniform weights, zero bias.

    Its input is L2-normalised, as the features are that ILIAS's code stores.
    """

    class Config(LinearHead.Config):
        kind: Literal["linear-l2"] = "linear-l2"
        dim: PositiveInt = 512

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator) -> None:
        weight = xavier_uniform(in_dim, dim, generator)
        super().__init__(weight, zeros(dim, generator), generator, l2_input=True, l2_output=True)
