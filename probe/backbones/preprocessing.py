"""From an image file to the pixels that a backbone sees. Runs in worker processes, so it is plain data and picklable.

The pixels stay uint8 until they are on the device: a quarter of the memory traffic, and the same numbers as scaling
first.

    pixels, size = Preprocessing(row)(Path("shoe.jpg"))      # (px, px, 3) uint8, (width, height) of the original
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import crop, get_image_size, pil_to_tensor, resize

from probe.backbones.cropped_resize import cropped_resize
from probe.backbones.row import BackboneRow
from probe.data import decode

MOST_SCALED = 1 << 25  # pixels, 128 MB, of an enlarged image that is made as a whole

ImageFile = Path | BinaryIO | Image.Image
"""An image file, or what `decode` makes of it."""
PrepareImage = Callable[[ImageFile], tuple[np.ndarray, tuple[int, int]]]
"""An image -> what an encoder takes, and the original's (width, height). Picklable."""


class Preprocessing:
    """Resizes as the catalogue row says; normalisation is the backbone's, on its device."""

    def __init__(self, row: BackboneRow) -> None:
        self.px = row.px
        self.scaled = [row.scaled, row.scaled] if row.resize == "squash" else [row.scaled]
        self.interpolation = InterpolationMode(row.interpolation)
        self.on_tensors = row.resampling == "tensor"
        self.floors = row.offset == "floor"

    def __call__(self, file: ImageFile) -> tuple[np.ndarray, tuple[int, int]]:
        """Raises OSError, SyntaxError or ValueError (Pillow's) for a file that cannot be decoded."""
        image = file if isinstance(file, Image.Image) else decode(file)
        width, height = self._scaled_size(*image.size)
        if width * height > MOST_SCALED and width > image.width and height > image.height:
            return self._part(image, width, height), image.size
        # torchvision's functions take PIL images and tensors alike, though they are annotated for tensors
        given: Any = pil_to_tensor(image) if self.on_tensors else image
        scaled: Any = resize(given, self.scaled, self.interpolation, antialias=True)
        left, top = (self._offset(side) for side in get_image_size(scaled))
        cropped: Any = crop(scaled, top, left, self.px, self.px)
        return cropped.permute(1, 2, 0).numpy() if self.on_tensors else np.asarray(cropped), image.size

    def seen(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Of an image's (width, height), the part that is left of it: left, top, width and height as shares of both."""
        scaled = self._scaled_size(*size)
        left, top = (self._offset(side) / side for side in scaled)
        return left, top, self.px / scaled[0], self.px / scaled[1]

    def _scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before the crop, as torchvision rounds them."""
        if len(self.scaled) == 2:
            return self.scaled[0], self.scaled[1]
        (side,) = self.scaled
        return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)

    def _part(self, image: Image.Image, width: int, height: int) -> np.ndarray:
        """The crop of what would take a lot of memory as a whole."""
        if self.on_tensors:
            raise ValueError(f"{image.width} x {image.height} pixels would be scaled to {width:,} x {height:,}")
        corner = (self._offset(width), self._offset(height))
        return cropped_resize(image, (width, height), corner, self.px, self.interpolation.value)

    def _offset(self, side: int) -> int:
        """Where the centre `px` of a side begin; no side is shorter than that."""
        margin = side - self.px
        return margin // 2 if self.floors else round(margin / 2)
