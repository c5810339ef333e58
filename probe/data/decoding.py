"""From the bytes of an image file to its pixels: upright by EXIF, on white where transparent, RGB of 8 bits.

The content decides the format, never the file's name.

    decode(Path("shoe.jpg")).size      # (width, height), upright
"""

from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

# Of Pillow's other formats, some run programs (EPS) and some have no signature (TGA).
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


def decode(file: Path | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The image in RGB, upright, on white where it is transparent; 16-bit grey is scaled to 8 bits.

    Raises what Pillow raises, DecompressionBombError above `max_pixels`, or 179 million, before any pixel is decoded,
    and ValueError for pixels without a known range.
    """
    try:
        opened = Image.open(file, formats=_formats())
    except UnidentifiedImageError:  # Pillow's message has the address of the buffer
        raise UnidentifiedImageError(f"cannot identify image file, {_beginning(file)}") from None
    with opened:
        if max_pixels is not None and opened.width * opened.height > max_pixels:
            raise Image.DecompressionBombError(f"{opened.width} x {opened.height} pixels are more than {max_pixels:,}")
        opened.load()
        return to_rgb(opened)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as a library or a user has opened it -> RGB, as `decode` gives it."""
    image = _upright(image)
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
    return "it begins as none of their kinds does" if file.read(1) else "it is empty"


@cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]
