"""ArcFace, the additive angular margin.

Neither the loss nor its gradient leaves the finite numbers: the angle is never computed, and the square root in the
sine is kept away from 0.

    loss = ArcFace(classes=34_800, dim=64, margin=0.5, scale=30.0, generator=generator)
    loss(embeddings, labels)      # (B, 64), (B,) -> ()
"""

from typing import Literal

import torch

from probe.losses.base import LOSSES
from probe.losses.cosine import MarginSoftmax, sine


@LOSSES.register
class ArcFace(MarginSoftmax):
    """The label's logit is scale * cos(θ + margin). Deng et al., CVPR 2019, eq. 3.

    `margin` in radians, in [0, π). Where θ + margin would pass π, see `add_angular_margin`.
    """

    class Config(MarginSoftmax.Config):
        kind: Literal["arcface"] = "arcface"

    def with_margin(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return add_angular_margin(cosines, self.weight.new_full((), self.margin))


def add_angular_margin(cosines: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """cos(θ + margin) of (B,) cos θ; where θ + margin would pass π, cos θ - margin * sin(margin) instead.

    That keeps it below cos θ and, for margins up to 2.33, increasing in it: so does the code of UniFEx,
    pytorch-metric-learning and CurricularFace; InsightFace's today lets the angle wrap around.
    `margin`: of all, (), or of each, (B,), in radians.
    """
    cosines = cosines.clamp(-1, 1)
    shifted = cosines * margin.cos() - sine(cosines) * margin.sin()
    return torch.where(cosines <= -margin.cos(), cosines - margin * margin.sin(), shifted)
