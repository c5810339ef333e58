"""CosFace, the additive cosine margin: CosFace(classes, dim, margin=0.35, scale=30.0, generator=generator)."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from probe.losses.base import LOSSES
from probe.losses.cosine import MarginSoftmax


@LOSSES.register
class CosFace(MarginSoftmax):
    """The label's logit is scale * (cos θ - margin). Wang et al., CVPR 2018, eq. 4. `margin` is a cosine."""

    class Config(MarginSoftmax.Config):
        kind: Literal["cosface"] = "cosface"
        margin: Annotated[float, Field(ge=0, le=2)] = 0.35
        sub_centers: PositiveInt = 1

    def with_margin(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cosines - self.margin
