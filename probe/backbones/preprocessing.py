"""From an image file to the pixels that a backbone sees. Runs in worker processes, so it is plain data and picklable.

Decoding applies the EXIF orientation, puts transparent images on white and converts to RGB. The pixels stay uint8 until
they are on the device: a quarter of the memory traffic, and the same numbers as scaling first.

    pixels, size = Preprocessing(row)(Path("shoe.jpg"))      # (px, px, 3) uint8, (width, height) of the original
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from probe.backbones.row import BackboneRow

# Image file -> what an encoder takes, and the original's (width, height). Picklable.
Prepare = Callable[[Path], tuple[np.ndarray, tuple[int, int]]]


class Preprocessing:
    """Resizes as the catalogue row says; normalisation is the backbone's, on its device."""

    def __init__(self, row: BackboneRow) -> None:
        scaled = int(row.px / row.crop_pct)
        self.crop = [row.px, row.px]
        self.scaled = [scaled, scaled] if row.resize == "squash" else [scaled]
        self.interpolation = InterpolationMode(row.interpolation)

    def __call__(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """Raises OSError, SyntaxError or ValueError (Pillow's) for a file that cannot be decoded."""
        image = decode(path)
        # torchvision's functions take PIL images and tensors alike, though they are annotated for tensors
        scaled: Any = resize(cast(Any, image), self.scaled, self.interpolation)
        return np.asarray(center_crop(scaled, self.crop)), image.size


def decode(path: Path) -> Image.Image:
    """The image in RGB, upright, on white where it is transparent; 16-bit grey is scaled to 8 bits."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
            image = Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB")
