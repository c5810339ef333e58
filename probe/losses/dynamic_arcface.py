"""ArcFace with a margin of each class's own, the larger the fewer training images the class has.

DynamicArcFace(CosineMargins().of(class_sizes), dim=64, scale=30.0, sub_centers=3, generator=generator)
"""

from typing import Annotated, Literal, Self, Unpack

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from probe.losses.arcface import add_angular_margin
from probe.losses.base import LOSSES
from probe.losses.cosine import CoreOptions, CosineSoftmax, SampledConfig
from probe.losses.margins import CosineMargins, PowerMargins, SizeMargins


@LOSSES.register
class DynamicArcFace(CosineSoftmax):
    """(Sub-Center) ArcFace with `margins` (C,) in radians, by label. Saved with the state. UniFEx; Ha et al., 2020."""

    class Config(SampledConfig):
        kind: Literal["dynamic-arcface"] = "dynamic-arcface"
        margins: Annotated[CosineMargins | PowerMargins, Field(discriminator="kind")] = CosineMargins()
        scale: PositiveFloat = 30.0
        sub_centers: PositiveInt = 1

        @property
        def size_margins(self) -> SizeMargins:
            return self.margins

    margins: torch.Tensor

    def __init__(
        self, margins: torch.Tensor, dim: int, scale: float, generator: torch.Generator, **core: Unpack[CoreOptions]
    ) -> None:
        super().__init__(len(margins), dim, scale, generator, **core)
        self.register_buffer("margins", margins)

    @classmethod
    def build(cls, config: "Config", class_sizes: torch.Tensor, dim: int, generator: torch.Generator) -> Self:
        margins = config.margins.of(class_sizes.to(generator.device))
        core = CoreOptions(
            sub_centers=config.sub_centers, precision=config.precision, init=config.init, sample=config.sample
        )
        return cls(margins, dim, config.scale, generator, **core)

    def with_margin(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return add_angular_margin(cosines, self.margins[labels])
