"""Adam and AdamW, which differ in what weight decay is added to."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from probe.fit.optimizers.base import OPTIMIZERS
from probe.registry import Kind

Decay = Annotated[float, Field(ge=0, lt=1)]


class _Config(Kind):
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decays of the running means of the gradient and of its square."""


@OPTIMIZERS.register
class Adam(torch.optim.Adam):
    """Weight decay is added to the gradient (L2)."""

    class Config(_Config):
        kind: Literal["adam"] = "adam"

    def __init__(self, weights: Iterable[nn.Parameter], config: Config, lr: float, weight_decay: float) -> None:
        super().__init__(weights, lr=lr, betas=config.betas, weight_decay=weight_decay, fused=True)


@OPTIMIZERS.register
class AdamW(torch.optim.AdamW):
    """Weight decay is taken off the weights."""

    class Config(_Config):
        kind: Literal["adamw"] = "adamw"

    def __init__(self, weights: Iterable[nn.Parameter], config: Config, lr: float, weight_decay: float) -> None:
        super().__init__(weights, lr=lr, betas=config.betas, weight_decay=weight_decay, fused=True)
