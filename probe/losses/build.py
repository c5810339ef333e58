"""From a loss's configuration to the module.

loss = build_loss(config, classes=34_800, dim=64, generator=generator)
"""

import torch
from torch import nn

from probe.losses import config as losses
from probe.losses.arcface import ArcFace


def build_loss(config: losses.LossConfig, classes: int, dim: int, generator: torch.Generator) -> nn.Module:
    """The loss with its class matrix drawn from the generator, on the generator's device."""
    match config:
        case losses.ArcFace():
            return ArcFace(classes, dim, config.margin, config.scale, generator)
        case losses.SubCenterArcFace():
            return ArcFace(classes, dim, config.margin, config.scale, generator, config.sub_centers)
