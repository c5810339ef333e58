"""ArcFace and Sub-Center ArcFace, which is the same loss with several centres a class.

Neither the loss nor its gradient leaves the finite numbers: the angle is never computed, and the square root in the
sine is kept away from 0.

    loss = ArcFace(classes=34_800, dim=64, margin=0.5, scale=30.0, sub_centers=3, generator=generator)
    loss(embeddings, labels)      # (B, 64), (B,) -> ()
"""

from collections.abc import Callable

import torch

from probe.losses.cosine import MarginSoftmax, sine


class ArcFace(MarginSoftmax):
    """The label's logit is scale * cos(θ + margin). Deng et al., CVPR 2019, eq. 3; with K > 1, ECCV 2020, eq. 2.

    `margin` in radians, in [0, π). Where θ + margin would pass π, see `widened`.
    """

    def lowered(self, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        margin = self.weight.new_tensor(self.margin)
        return lambda cosines: widened(cosines, margin)


def widened(cosines: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """cos(θ + margin) of (B,) cos θ; where θ + margin would pass π, cos θ - margin * sin(margin) instead.

    That keeps it below cos θ and, for margins up to 2.33, increasing in it (the reference code's `easy_margin=False`).
    """
    cosines = cosines.clamp(-1, 1)
    shifted = cosines * margin.cos() - sine(cosines) * margin.sin()
    return torch.where(cosines <= -margin.cos(), cosines - margin * margin.sin(), shifted)
