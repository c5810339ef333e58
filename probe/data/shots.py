"""One shot of a region of a picture: where the camera stood, how the light fell, how the file was saved.

A shot never looks outside its region, so shots of disjoint regions share no pixel; and it holds
everything random about itself, so drawing it twice gives the same image.

    shot = Shot.random(np.random.default_rng(7))
    shot.draw(picture, Region("china", left=120, top=80, side=64)).save("0.jpg", quality=shot.quality)
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image, ImageFilter

SHOT_PX = 128

MAX_ROTATION = np.deg2rad(30)
ZOOM = (0.6, 1.0)  # of the largest square that, turned, still fits its region
MAX_TILT = 0.15  # how far a corner is pulled towards the centre, which is what perspective does
EXPOSURE = (0.55, 1.2)
COLOUR_CAST = 0.15  # standard deviation of the log gain of red and of blue, green held
GAMMA = (0.7, 1.6)
MAX_BLUR = 1.2  # pixels
MAX_NOISE = 8.0  # grey levels
QUALITY = (35, 95)


@dataclass(frozen=True)
class Region:
    """A square of a picture, in the picture's pixels."""

    picture: str
    left: int
    top: int
    side: int

    @property
    def right(self) -> int:
        return self.left + self.side

    @property
    def bottom(self) -> int:
        return self.top + self.side

    def of(self, values: np.ndarray) -> np.ndarray:
        """This region's part of an array over the picture."""
        return values[self.top : self.bottom, self.left : self.right]

    def overlaps(self, other: "Region") -> bool:
        return (
            self.picture == other.picture
            and self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


@dataclass(frozen=True)
class Shot:
    """How a region is looked at; `corners` are in units of the region's side, anticlockwise from top left."""

    corners: tuple[tuple[float, float], ...]
    gain: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    noise_seed: int
    quality: int

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        exposure = rng.uniform(*EXPOSURE)
        red, blue = np.exp(rng.normal(0, COLOUR_CAST, 2))
        return cls(
            corners=_random_corners(rng),
            gain=(float(exposure * red), exposure, float(exposure * blue)),
            gamma=rng.uniform(*GAMMA),
            blur=rng.uniform(0, MAX_BLUR),
            noise=rng.uniform(0, MAX_NOISE),
            noise_seed=int(rng.integers(2**32)),
            quality=int(rng.integers(*QUALITY)),
        )

    def draw(self, picture: Image.Image, region: Region) -> Image.Image:
        """The region as this shot shows it, SHOT_PX square; saving it at `quality` is the caller's part."""
        # Cropped first, so that interpolation cannot reach across the region's border.
        crop = picture.crop((region.left, region.top, region.right, region.bottom))
        quad = tuple(coordinate * region.side for corner in self.corners for coordinate in corner)
        shot = crop.transform((SHOT_PX, SHOT_PX), Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
        return self._develop(shot.filter(ImageFilter.GaussianBlur(self.blur)))

    def _develop(self, shot: Image.Image) -> Image.Image:
        light = (np.asarray(shot, np.float32) / 255) ** self.gamma * np.array(self.gain, np.float32)
        grain = np.random.default_rng(self.noise_seed).standard_normal(light.shape, np.float32)
        return Image.fromarray((light * 255 + self.noise * grain).clip(0, 255).astype(np.uint8))


def _random_corners(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """A turned and tilted square that lies inside the unit square."""
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    cos, sin = np.cos(angle), np.sin(angle)
    extent = rng.uniform(*ZOOM)  # of the upright box around the turned square
    centre = rng.uniform(extent / 2, 1 - extent / 2, 2)
    square = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)])
    turned = square @ np.array([(cos, sin), (-sin, cos)]) * extent / (abs(cos) + abs(sin))
    tilted = turned * (1 - rng.uniform(0, MAX_TILT, (4, 1)))
    return tuple((float(x), float(y)) for x, y in centre + tilted)
