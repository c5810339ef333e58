"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from probe.fit.optimizers.base import OPTIMIZERS
from probe.registry import Kind


@OPTIMIZERS.register
class SGD(torch.optim.SGD):
    """Weight decay is added to the gradient (L2).

    There is a group for each weight: in one group PyTorch's fused step takes none that moves for the first time, as a
    thawed head or another domain's classifier does, beside others with a momentum.
    """

    class Config(Kind):
        kind: Literal["sgd"] = "sgd"
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
        nesterov: bool = False

        @model_validator(mode="after")
        def _nesterov_looks_ahead(self) -> "SGD.Config":
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov needs a momentum above 0")
            return self

    def __init__(self, weights: Iterable[nn.Parameter], config: Config, lr: float, weight_decay: float) -> None:
        super().__init__(
            [{"params": [weight]} for weight in weights],
            lr=lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=weight_decay,
            fused=True,
        )
