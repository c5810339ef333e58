"""Softmax cross-entropy of a linear classifier: the loss that has neither a normalised embedding nor a margin.

loss = Softmax(classes=34_800, dim=64, generator=generator)
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from probe.heads import uniform_bias
from probe.losses.base import LOSSES, Loss
from probe.losses.initialization import ClassInit, class_matrix


@LOSSES.register
class Softmax(Loss):
    """Mean cross-entropy of softmax(W x + b). `weight` (C, d) starts as `init` says, `bias` (C,) in
    U(±1/sqrt(d)).

    Its logits are not bounded and it is not on the core: it keeps (B, C) logits.
    """

    class Config(Loss.Config):
        kind: Literal["softmax"] = "softmax"
        bias: bool = True
        init: ClassInit = "linear"

        def weights(self, classes: int, dim: int) -> int:
            return classes * (dim + self.bias)

    def __init__(
        self, classes: int, dim: int, generator: torch.Generator, bias: bool = True, init: ClassInit = "linear"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(class_matrix(init, classes, dim, generator))
        self.bias = nn.Parameter(uniform_bias(dim, classes, generator)) if bias else None

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(F.linear(embeddings, self.weight, self.bias), labels)
