"""ArcFace with a margin of each class's own, the larger the fewer training images the class has.

DynamicArcFace(margins_by_size(sizes, CosineMargins()), dim=64, scale=30.0, sub_centers=3, generator=generator)
"""

from collections.abc import Callable
from typing import Unpack

import torch

from probe.errors import ProbeError
from probe.losses import config as losses
from probe.losses.arcface import widened
from probe.losses.cosine import CoreOptions, CosineSoftmax


class DynamicArcFace(CosineSoftmax):
    """ArcFace with `margins` (C,) in radians, by label. Saved with the state."""

    margins: torch.Tensor

    def __init__(
        self, margins: torch.Tensor, dim: int, scale: float, generator: torch.Generator, **core: Unpack[CoreOptions]
    ) -> None:
        super().__init__(len(margins), dim, scale, generator, **core)
        self.register_buffer("margins", margins)

    def lowered(self, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda cosines: widened(cosines, self.margins[labels])


def margins_by_size(class_sizes: torch.Tensor, config: losses.CosineMargins | losses.PowerMargins) -> torch.Tensor:
    """(C,) int64 numbers of training images -> (C,) float32 margins in radians.

    The rarest class gets `most` and the most frequent `least`; where all are of one size, all get `most`. Between them
    cosine: least + (most - least) / 2 * (1 + cos(π (n - n_min) / (n_max - n_min))) (UniFEx, appendix);
    power: a * n^-exponent + b (Ha et al., 2020). Raises ProbeError when a class has no image.
    """
    sizes = class_sizes.double()
    if sizes.min() < 1:
        raise ProbeError(f"class {int(sizes.argmin())} has no training image; its margin needs at least one.")
    match config:
        case losses.CosineMargins():
            falling = (torch.pi * (sizes - sizes.min()) / (sizes.max() - sizes.min()).clamp_min(1)).cos()
        case losses.PowerMargins():
            falling = sizes**-config.exponent
    spread = falling.max() - falling.min()
    share = (falling - falling.min()) / spread if spread > 0 else torch.ones_like(falling)
    return (config.least + (config.most - config.least) * share).float()
