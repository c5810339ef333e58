"""From a loss's configuration to the module.

loss = build_loss(config, class_sizes=torch.bincount(labels), dim=64, generator=generator)
"""

import torch

from probe.losses import config as losses
from probe.losses.adacos import AdaCos
from probe.losses.adaface import AdaFace
from probe.losses.arcface import ArcFace
from probe.losses.cosface import CosFace
from probe.losses.cosine import CosineSoftmax
from probe.losses.curricular import CurricularFace
from probe.losses.dynamic import DynamicArcFace, margins_by_size
from probe.losses.li_arcface import LiArcFace
from probe.losses.softmax import Softmax


def build_loss(
    config: losses.LossConfig, class_sizes: torch.Tensor, dim: int, generator: torch.Generator
) -> Softmax | CosineSoftmax:
    """The loss with its class matrix drawn from the generator, on the generator's device.

    `class_sizes`: (C,) int64, how many training images each label 0..C-1 has. Whatever changes while training is in
    the module's `state_dict`.
    """
    classes = len(class_sizes)
    if isinstance(config, losses.Softmax):
        return Softmax(classes, dim, generator, config.bias)
    options = config.model_dump(exclude={"kind", "margins"}) | {"dim": dim, "generator": generator}
    match config:
        case losses.NormalisedSoftmax():
            return CosineSoftmax(classes, **options)
        case losses.CosFace():
            return CosFace(classes, **options)
        case losses.ArcFace() | losses.SubCenterArcFace():
            return ArcFace(classes, **options)
        case losses.DynamicArcFace():
            return DynamicArcFace(margins_by_size(class_sizes.to(generator.device), config.margins), **options)
        case losses.LiArcFace():
            return LiArcFace(classes, **options)
        case losses.AdaCos():
            return AdaCos(classes, **options)
        case losses.CurricularFace():
            return CurricularFace(classes, **options)
        case losses.AdaFace():
            return AdaFace(classes, **options)
