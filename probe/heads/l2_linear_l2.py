"""UnED's head: L2LinearL2(1152, 64, generator)."""

from typing import Literal

import torch

from probe.heads.base import HEADS
from probe.heads.initialization import lecun_normal, zeros
from probe.heads.linear import LinearHead


@HEADS.register
class L2LinearL2(LinearHead):
    """L2 normalisation, a linear layer with bias, L2 normalisation: UnED's head (section 4.1).

    Initialised as flax does: weights LeCun-normal, bias zero.
    """

    class Config(LinearHead.Config):
        kind: Literal["l2-linear-l2"] = "l2-linear-l2"

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator) -> None:
        weight = lecun_normal(in_dim, dim, generator)
        super().__init__(weight, zeros(dim, generator), generator, l2_input=True, l2_output=True)
