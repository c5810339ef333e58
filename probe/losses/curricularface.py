"""CurricularFace: ArcFace that turns to hard negatives as training goes on.

CurricularFace(classes, dim, margin=0.5, scale=30.0, t_alpha=0.01, generator=generator)
"""

from typing import Annotated, Literal, Unpack

import torch
from pydantic import Field
from torch.nn import functional as F

from probe.losses.arcface import ArcFace
from probe.losses.base import LOSSES
from probe.losses.core import target_cosines
from probe.losses.cosine import CoreOptions


@LOSSES.register
class CurricularFace(ArcFace):
    """ArcFace whose negatives with cos θ_j above the label's cos(θ + margin) become cos θ_j * (t + cos θ_j).

    Huang et al., CVPR 2020, eq. 5 to 7. `margin` in radians. `t` starts at 0; in training mode each batch first moves
    it to t_alpha * mean cos θ of the labels + (1 - t_alpha) * t. It has no gradient and is saved with the state.
    """

    class Config(ArcFace.Config):
        kind: Literal["curricularface"] = "curricularface"
        t_alpha: Annotated[float, Field(gt=0, le=1)] = 0.01
        """Weight of the new batch in the running mean of the labels' cosines."""

    t: torch.Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        margin: float,
        scale: float,
        t_alpha: float,
        generator: torch.Generator,
        **core: Unpack[CoreOptions],
    ) -> None:
        super().__init__(classes, dim, margin, scale, generator, **core)
        self.t_alpha = t_alpha
        self.register_buffer("t", torch.zeros((), device=generator.device))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            cosines = target_cosines(F.normalize(embeddings, dim=1), self.weight, labels, self.sub_centers)
            if self.training:
                self.t.lerp_(cosines.mean().clamp(-1, 1).to(self.t.dtype), self.t_alpha)
            hard = _HardNegatives(self.t.to(cosines.dtype).clone(), self.with_margin(cosines, labels), self.scale)
        return self.cross_entropy(embeddings, labels, lambda cosines: self.with_margin(cosines, labels), hard)


class _HardNegatives:
    """The core's negatives. `above`: (B,) cosines of the labels after the margin."""

    largest = 2.0

    def __init__(self, t: torch.Tensor, above: torch.Tensor, scale: float) -> None:
        self.t, self.above, self.scale = t, above * scale, scale

    def apply(self, logits: torch.Tensor) -> None:
        torch.where(logits > self.above, logits * (self.t + logits / self.scale), logits, out=logits)

    def apply_with_slope(self, logits: torch.Tensor) -> torch.Tensor:
        slope = torch.where(logits > self.above, self.t + 2 / self.scale * logits, 1.0)
        self.apply(logits)
        return slope
