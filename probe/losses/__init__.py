"""The losses, a file each: loss(embeddings, labels) -> scalar; margins in radians.

A new file here, or a class of the user's named `package.module:Class`, is a loss like these (docs/losses.md).

    config = ArcFace(margin=0.4)           # its Config, as a recipe has it: {kind: arcface, margin: 0.4}
    loss = build_loss(config, torch.bincount(labels), dim=64, generator=generator)
    loss = ArcFace(classes=100, dim=64, margin=0.4, scale=30.0, generator=generator)      # the same
"""

from typing import TYPE_CHECKING

from probe.losses.adacos import AdaCos
from probe.losses.adaface import AdaFace
from probe.losses.arcface import ArcFace, add_angular_margin
from probe.losses.base import LOSSES, Loss, build_loss
from probe.losses.core import MatmulPrecision, class_logits
from probe.losses.cosface import CosFace
from probe.losses.cosine import CosineSoftmax, MarginSoftmax, sine
from probe.losses.curricularface import CurricularFace
from probe.losses.distillation import logit_distillation, relation_distillation
from probe.losses.dynamic_arcface import DynamicArcFace
from probe.losses.initialization import ClassInit, class_matrix
from probe.losses.li_arcface import LiArcFace
from probe.losses.margins import CosineMargins, PowerMargins, Radians, SizeMargins
from probe.losses.normalised_softmax import NormalisedSoftmax
from probe.losses.softmax import Softmax
from probe.losses.sub_center_arcface import SubCenterArcFace

if TYPE_CHECKING:
    LossConfig = Loss.Config
else:
    LossConfig = LOSSES.union()

__all__ = [
    "LOSSES",
    "AdaCos",
    "AdaFace",
    "ArcFace",
    "ClassInit",
    "CosFace",
    "CosineMargins",
    "CosineSoftmax",
    "CurricularFace",
    "DynamicArcFace",
    "LiArcFace",
    "Loss",
    "LossConfig",
    "MarginSoftmax",
    "MatmulPrecision",
    "NormalisedSoftmax",
    "PowerMargins",
    "Radians",
    "SizeMargins",
    "Softmax",
    "SubCenterArcFace",
    "add_angular_margin",
    "build_loss",
    "class_logits",
    "class_matrix",
    "logit_distillation",
    "relation_distillation",
    "sine",
]
