"""From a loss's configuration to the module.

loss = build_loss(config, class_sizes, dim=64, generator=generator)
"""

import torch
from torch import nn

from probe.losses import config as losses
from probe.losses.arcface import ArcFace


def build_loss(config: losses.LossConfig, class_sizes: torch.Tensor, dim: int, generator: torch.Generator) -> nn.Module:
    """The loss with its class matrix drawn from the generator, on the generator's device.

    `class_sizes`: (C,) int64, the training images of each label.
    """
    classes = len(class_sizes)
    match config:
        case losses.ArcFace():
            return ArcFace(classes, dim, config.margin, config.scale, generator)
        case losses.SubCenterArcFace():
            return ArcFace(classes, dim, config.margin, config.scale, generator, config.sub_centers)
