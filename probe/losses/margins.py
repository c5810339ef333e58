"""Margins of classes by how many training images they have: the rarest gets the largest.

CosineMargins(least=0.2, most=0.5).of(torch.tensor([3, 100, 10]))      # (3,) float32, in radians
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, model_validator

from probe.errors import ProbeError
from probe.registry import Kind

Radians = Annotated[float, Field(ge=0, lt=math.pi)]


class SizeMargins(Kind):
    """The rarest class gets `most`, the most frequent `least`; where all are of one size, all get `most`."""

    relative: ClassVar[bool]
    """Whether only the share of the way from the rarest class's size to the most frequent one's matters."""

    least: Radians
    most: Radians

    @model_validator(mode="after")
    def _ordered(self) -> "SizeMargins":
        if self.least > self.most:
            raise ValueError(f"margins.least ({self.least}) is above margins.most ({self.most})")
        return self

    def of(self, class_sizes: torch.Tensor) -> torch.Tensor:
        """(C,) int64 numbers of training images -> (C,) float32 margins. Raises ProbeError when a class has none."""
        sizes = class_sizes.double()
        if sizes.min() < 1:
            raise ProbeError(f"class {int(sizes.argmin())} has no training image; its margin needs at least one.")
        curve = self._curve(sizes)
        spread = curve.max() - curve.min()
        share = (curve - curve.min()) / spread if spread > 0 else torch.ones_like(curve)
        return (self.least + (self.most - self.least) * share).float()

    def _curve(self, sizes: torch.Tensor) -> torch.Tensor:
        """(C,) float64 sizes -> (C,) values that fall with the size; `of` stretches them to the range."""
        raise NotImplementedError


class CosineMargins(SizeMargins):
    """least + (most - least) / 2 * (1 + cos(π (n - n_min) / (n_max - n_min))) (UniFEx, appendix; the values are its
    code's default)."""

    relative = True
    kind: Literal["cosine"] = "cosine"
    least: Radians = 0.2
    most: Radians = 0.5

    def _curve(self, sizes: torch.Tensor) -> torch.Tensor:
        return (torch.pi * (sizes - sizes.min()) / (sizes.max() - sizes.min()).clamp_min(1)).cos()


class PowerMargins(SizeMargins):
    """a * n^-exponent + b (Ha et al., 2020; the range is the 6th place's of GUIEC)."""

    relative = False
    kind: Literal["power"] = "power"
    least: Radians = 0.005
    most: Radians = 0.45
    exponent: PositiveFloat = 0.25

    def _curve(self, sizes: torch.Tensor) -> torch.Tensor:
        return sizes**-self.exponent
