"""AdaFace: a margin that follows the embedding's length, which stands for the image's quality.

AdaFace(classes, dim, margin=0.5, scale=30.0, h=0.333, t_alpha=0.01, generator=generator)
"""

import math
from typing import Annotated, Literal, Unpack

import torch
from pydantic import Field, PositiveFloat

from probe.losses.base import LOSSES
from probe.losses.cosine import CoreOptions, MarginSoftmax, sine

_TINY_DEVIATION = 1e-3


@LOSSES.register
class AdaFace(MarginSoftmax):
    """The label's logit is scale * (cos(θ - margin * q) - margin * (1 + q)), q in [-1, 1] the relative length.

    Kim et al., CVPR 2022, eq. 10 to 14: q = clip((|x| - mean) * h / deviation, -1, 1), without gradient, from running
    statistics of the lengths that each batch in training mode moves first by `t_alpha`; the first batch sets them, and
    a batch of one leaves the deviation as it is. θ - margin * q is kept within [0, π], so that it does not wrap
    around; outside, the gradient is 0. Cosines are not cut to ±0.999 as in the released code. `margin` in radians. The
    statistics are saved with the state.
    """

    class Config(MarginSoftmax.Config):
        kind: Literal["adaface"] = "adaface"
        margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = 0.5
        h: PositiveFloat = 0.333
        """How far a length's deviation from the mean moves the margin."""
        t_alpha: Annotated[float, Field(gt=0, le=1)] = 0.01
        """Weight of the new batch in the running statistics; UniFEx's code has 1.0, the batch alone."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        margin: float,
        scale: float,
        h: float,
        t_alpha: float,
        generator: torch.Generator,
        **core: Unpack[CoreOptions],
    ) -> None:
        super().__init__(classes, dim, margin, scale, generator, **core)
        self.h, self.t_alpha = h, t_alpha
        for name in ("mean", "deviation"):  # NaN until a batch has been seen
            self.register_buffer(name, torch.full((), torch.nan, device=generator.device))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        quality = self._quality(embeddings.detach())
        return self.cross_entropy(
            embeddings,
            labels,
            lambda cosines: add_angle(cosines, -self.margin * quality) - self.margin * (1 + quality),
        )

    def _quality(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(B,) in [-1, 1]."""
        lengths = torch.linalg.vector_norm(embeddings, dim=1)
        if self.training:
            self._move(self.mean, lengths.mean())
            if len(lengths) > 1:
                self._move(self.deviation, lengths.std())
        return ((lengths - self.mean) * self.h / (self.deviation.nan_to_num(0) + _TINY_DEVIATION)).clamp(-1, 1)

    def _move(self, running: torch.Tensor, new: torch.Tensor) -> None:
        new = new.to(running.dtype)
        running.copy_(torch.where(running.isnan(), new, running.lerp(new, self.t_alpha)))


def add_angle(cosines: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """cos(θ + angle) of (B,) cos θ and angles in (-π/2, π/2), where θ + angle is cut to [0, π]."""
    cosines = cosines.clamp(-1, 1)
    moved = cosines * angles.cos() - sine(cosines) * angles.sin()
    below, above = (angles < 0) & (cosines >= angles.cos()), (angles > 0) & (cosines <= -angles.cos())
    return torch.where(below, 1.0, torch.where(above, -1.0, moved))
