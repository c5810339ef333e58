"""From an image file to the pixels that a backbone sees. Runs in worker processes, so it is plain data and picklable.

The pixels stay uint8 until they are on the device: a quarter of the memory traffic, and the same numbers as scaling
first.

    pixels, size = Preprocessing(row)(Path("shoe.jpg"))      # (px, px, 3) uint8, (width, height) of the original
"""

from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from probe.backbones.row import BackboneRow
from probe.data import decode


class Preprocessing:
    """Resizes as the catalogue row says; normalisation is the backbone's, on its device."""

    def __init__(self, row: BackboneRow) -> None:
        scaled = int(row.px / row.crop_pct)
        self.crop = [row.px, row.px]
        self.scaled = [scaled, scaled] if row.resize == "squash" else [scaled]
        self.interpolation = InterpolationMode(row.interpolation)

    def __call__(self, file: Path | BinaryIO) -> tuple[np.ndarray, tuple[int, int]]:
        """Raises OSError, SyntaxError or ValueError (Pillow's) for a file that cannot be decoded."""
        image = decode(file)
        # torchvision's functions take PIL images and tensors alike, though they are annotated for tensors
        scaled: Any = resize(cast(Any, image), self.scaled, self.interpolation)
        return np.asarray(center_crop(scaled, self.crop)), image.size
