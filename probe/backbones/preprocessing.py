"""From an image file to the pixels that a backbone sees. Runs in worker processes, so it is plain data and picklable.

Decoding applies the EXIF orientation, puts transparent images on white and converts to RGB. The pixels stay uint8 until
they are on the device: a quarter of the memory traffic, and the same numbers as scaling first.

    pixels, size = Preprocessing(row)(Path("shoe.jpg"))      # (px, px, 3) uint8, (width, height) of the original
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, resize

from probe.backbones.row import BackboneRow

# Image file -> what an encoder takes, and the original's (width, height). Picklable.
Prepare = Callable[[Path | BinaryIO], tuple[np.ndarray, tuple[int, int]]]

# The content decides which of them a file is. Of the others, some run programs (EPS) and some have no signature (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "MPO", "JPEG2000", "PPM", "AVIF")
DEEP = 65535  # white in 16 bits
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what puts it upright


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


def decode(file: Path | BinaryIO) -> Image.Image:
    """The image in RGB, upright, on white where it is transparent; 16-bit grey is scaled to 8 bits.

    Raises what Pillow raises, DecompressionBombError above 179 million pixels, and ValueError for pixels without a
    known range.
    """
    try:
        opened = Image.open(file, formats=_formats())
    except UnidentifiedImageError:  # Pillow's message has the address of the buffer
        raise UnidentifiedImageError(f"cannot identify image file, {_beginning(file)}") from None
    with opened:
        opened.load()
        image = _upright(opened)
        if image.mode in ("F", "I") or image.mode.startswith("I;"):
            image = _in_8_bits(image)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data says nothing, and the pixels are whole
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, which Pillow would clip at 255."""
    lowest, highest = cast(tuple[float, float], image.getextrema())
    if image.mode == "F" or lowest < 0 or highest > DEEP:
        raise ValueError(f"pixels from {lowest:g} to {highest:g}, of which nothing says how bright they are")
    return Image.fromarray((np.asarray(image) * np.float32(255 / DEEP)).round().astype(np.uint8))


def _beginning(file: Path | BinaryIO) -> str:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _beginning(stream)
    file.seek(0)
    start = file.read(12)
    return f"it begins with {start!r}" if start else "it is empty"


@cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]
