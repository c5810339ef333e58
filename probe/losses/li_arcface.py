"""Li-ArcFace: logits that are linear in the angle, so that no margin wraps around.

LiArcFace(classes, dim, margin=0.5, scale=30.0, generator=generator)
"""

import math
from typing import Literal

import torch

from probe.losses.base import LOSSES
from probe.losses.cosine import MarginSoftmax


@LOSSES.register
class LiArcFace(MarginSoftmax):
    """scale * (π - 2(θ + margin)) / π for the label, scale * (π - 2θ) / π for the others.

    Li et al., ICCV workshops 2019 (AirFace), eq. 4. `margin` in radians, any. The angle's slope -1 / sin θ is infinite
    at cos θ = ±1; there sin²θ counts as the dtype's epsilon, so float32 slopes end at 2,900.
    """

    class Config(MarginSoftmax.Config):
        kind: Literal["li-arcface"] = "li-arcface"

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        negatives = _LinearInAngle(self.scale)
        return self.cross_entropy(embeddings, labels, lambda cosines: self.with_margin(cosines, labels), negatives)

    def with_margin(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return _Linear.apply(cosines) - 2 * self.margin / math.pi


class _Linear(torch.autograd.Function):
    """1 - 2θ/π of (B,) cos θ."""

    @staticmethod
    def forward(ctx, cosines):
        ctx.save_for_backward(cosines)
        return 1 - 2 / math.pi * cosines.clamp(-1, 1).acos()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * _slope(*ctx.saved_tensors)


def _slope(cosines: torch.Tensor) -> torch.Tensor:
    """d(1 - 2θ/π) / d cos θ."""
    floor = torch.finfo(cosines.dtype).eps
    return (1 - cosines.square()).clamp_min_(floor).rsqrt_().mul_(2 / math.pi)


class _LinearInAngle:
    """The core's negatives."""

    largest = 1.0

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def apply(self, logits: torch.Tensor) -> None:
        label = logits == -torch.inf
        logits.div_(self.scale).clamp_(-1, 1).acos_().mul_(-2 * self.scale / math.pi).add_(self.scale)
        logits.masked_fill_(label, -torch.inf)

    def apply_with_slope(self, logits: torch.Tensor) -> torch.Tensor:
        slope = _slope(logits / self.scale)
        self.apply(logits)
        return slope
