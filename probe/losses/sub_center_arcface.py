"""Sub-Center ArcFace: ArcFace with several centres a class, the nearest of which counts.

SubCenterArcFace(classes, dim, margin=0.5, scale=30.0, sub_centers=3, generator=generator)
"""

from typing import Literal

from pydantic import PositiveInt

from probe.losses.arcface import ArcFace
from probe.losses.base import LOSSES


@LOSSES.register
class SubCenterArcFace(ArcFace):
    """The label's logit is scale * cos(θ + margin), θ that of the nearest centre. Deng et al., ECCV 2020, eq. 2."""

    class Config(ArcFace.Config):
        kind: Literal["sub-center-arcface"] = "sub-center-arcface"
        sub_centers: PositiveInt = 3
