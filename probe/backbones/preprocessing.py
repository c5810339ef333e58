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

from probe.backbones.row import BackboneRow
from probe.data import decode

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
        # torchvision's functions take PIL images and tensors alike, though they are annotated for tensors
        given: Any = pil_to_tensor(image) if self.on_tensors else image
        scaled: Any = resize(given, self.scaled, self.interpolation, antialias=True)
        left, top = (self._offset(side) for side in get_image_size(scaled))
        cropped: Any = crop(scaled, top, left, self.px, self.px)
        return cropped.permute(1, 2, 0).numpy() if self.on_tensors else np.asarray(cropped), image.size

    def seen(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Of an image's (width, height), the part that is left of it: left, top, width and height as shares of both."""
        shorter = min(size)
        squashed = len(self.scaled) == 2
        scaled = self.scaled if squashed else [int(self.scaled[0] * side / shorter) for side in size]
        left, top = (self._offset(side) / side for side in scaled)
        return left, top, self.px / scaled[0], self.px / scaled[1]

    def _offset(self, side: int) -> int:
        """Where the centre `px` of a side begin; no side is shorter than that."""
        margin = side - self.px
        return margin // 2 if self.floors else round(margin / 2)
