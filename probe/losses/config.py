"""The losses as a recipe writes them: plain data, so that recipes are checked without loading PyTorch.

Margins are in radians (CosFace's is a difference of cosines). Defaults are UniFEx's where its Table 5 has the loss.

loss: {kind: sub-center-arcface, margin: 0.5, scale: 30, sub_centers: 3}
"""

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from probe.validation import Strict

Radians = Annotated[float, Field(ge=0, lt=math.pi)]
Weight = Annotated[float, Field(gt=0, le=1)]
LEAST_CLASSES_OF_ADACOS = 3


class Softmax(Strict):
    """Cross-entropy of a linear classifier on the embeddings as they are, with or without `bias`."""

    kind: Literal["softmax"] = "softmax"
    bias: bool = True


class CosineLoss(Strict):
    """`precision`: of the products with the class matrix; bf16 is faster where the processor has it."""

    precision: Literal["fp32", "bf16"] = "fp32"


class NormalisedSoftmax(CosineLoss):
    """Cross-entropy of `scale` * cos, no margin (NormFace; Wang et al., ACM MM 2017). UnED's loss."""

    kind: Literal["normalised-softmax"] = "normalised-softmax"
    scale: PositiveFloat = 16.0


class CosFace(CosineLoss):
    """The label's cosine is lowered by `margin` (Wang et al., CVPR 2018)."""

    kind: Literal["cosface"] = "cosface"
    margin: Annotated[float, Field(ge=0, le=2)] = 0.35
    scale: PositiveFloat = 30.0
    sub_centers: PositiveInt = 1


class ArcFace(CosineLoss):
    """The label's angle is widened by `margin` (Deng et al., CVPR 2019)."""

    kind: Literal["arcface"] = "arcface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0


class SubCenterArcFace(CosineLoss):
    """ArcFace with several centres a class, the nearest of which counts (Deng et al., ECCV 2020)."""

    kind: Literal["sub-center-arcface"] = "sub-center-arcface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0
    sub_centers: PositiveInt = 3


class _Margins(Strict):
    """The rarest class gets `most`, the most frequent `least`."""

    @model_validator(mode="after")
    def _ordered(self):
        least, most = getattr(self, "least"), getattr(self, "most")  # noqa: B009
        if least > most:
            raise ValueError(f"margins.least ({least}) is above margins.most ({most})")
        return self


class CosineMargins(_Margins):
    """Half a cosine wave of the class's size (UniFEx, appendix; the values are its code's default)."""

    kind: Literal["cosine"] = "cosine"
    least: Radians = 0.2
    most: Radians = 0.5


class PowerMargins(_Margins):
    """a * n^-exponent + b of the class's size n (Ha et al., 2020; the range is the 6th place's of GUIEC)."""

    kind: Literal["power"] = "power"
    least: Radians = 0.005
    most: Radians = 0.45
    exponent: PositiveFloat = 0.25


class DynamicArcFace(CosineLoss):
    """(Sub-Center) ArcFace whose margin falls with the class's number of training images."""

    kind: Literal["dynamic-arcface"] = "dynamic-arcface"
    margins: Annotated[CosineMargins | PowerMargins, Field(discriminator="kind")] = CosineMargins()
    scale: PositiveFloat = 30.0
    sub_centers: PositiveInt = 1


class LiArcFace(CosineLoss):
    """Logits linear in the angle: scale * (π - 2(θ + margin)) / π (Li et al., ICCV workshops 2019)."""

    kind: Literal["li-arcface"] = "li-arcface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0


class AdaCos(CosineLoss):
    """No margin; the scale follows from the number of classes and, if `dynamic`, the batch (Zhang et al., 2019)."""

    kind: Literal["adacos"] = "adacos"
    dynamic: bool = True


class CurricularFace(CosineLoss):
    """ArcFace in which hard negatives weigh more as training goes on (Huang et al., CVPR 2020).

    `t_alpha`: weight of the new batch in the running mean of target cosines.
    """

    kind: Literal["curricularface"] = "curricularface"
    margin: Radians = 0.5
    scale: PositiveFloat = 30.0
    t_alpha: Weight = 0.01


class AdaFace(CosineLoss):
    """The margin's kind and size follow the embedding's length (Kim et al., CVPR 2022).

    `h`: concentration. `t_alpha`: weight of the new batch in the running mean and deviation of lengths; UniFEx's code
    has 1.0, the batch alone.
    """

    kind: Literal["adaface"] = "adaface"
    margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = 0.5
    scale: PositiveFloat = 30.0
    h: PositiveFloat = 0.333
    t_alpha: Weight = 0.01


LossConfig = Annotated[
    Softmax
    | NormalisedSoftmax
    | CosFace
    | ArcFace
    | SubCenterArcFace
    | DynamicArcFace
    | LiArcFace
    | AdaCos
    | CurricularFace
    | AdaFace,
    Field(discriminator="kind"),
]
