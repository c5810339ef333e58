"""The losses as a recipe writes them: plain data, so that recipes are checked without loading PyTorch.

loss: {kind: sub-center-arcface, margin: 0.5, scale: 30, sub_centers: 3}
"""

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from probe.validation import Strict

Radians = Annotated[float, Field(ge=0, lt=math.pi)]


class ArcFace(Strict):
    """Additive angular margin `margin` (radians), logits scaled by `scale` (Deng et al., CVPR 2019)."""

    kind: Literal["arcface"] = "arcface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0


class SubCenterArcFace(Strict):
    """ArcFace with several centres a class, the nearest of which counts (Deng et al., ECCV 2020)."""

    kind: Literal["sub-center-arcface"] = "sub-center-arcface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0
    sub_centers: PositiveInt = 3


LossConfig = Annotated[ArcFace | SubCenterArcFace, Field(discriminator="kind")]
