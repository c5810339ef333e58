"""From the bytes of an image file to its pixels: upright by EXIF, on white where transparent, RGB of 8 bits.

The content decides the format, never the file's name. HEIC, as telephones write it, is read where pillow-heif is
installed.

    decode(Path("shoe.jpg")).size      # (width, height), upright
"""

import zlib
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from probe.errors import UsageError

# Of Pillow's other formats, some run programs (EPS) and some have no signature (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "MPO", "JPEG2000", "PPM", "AVIF", "HEIF")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12
PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the chunks of which pixels are made
PNG_ORIENTATION = b"eXIf"
PNG_SIZES = 12  # bytes of a chunk beside its content: length, kind and checksum
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


class MissingDecoderError(UsageError):
    """An image of a format that another package reads, which is not installed: nothing is wrong with its bytes."""


def decode(file: Path | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The image in RGB, upright, on white where it is transparent; 16-bit grey is scaled to 8 bits.

    Raises what Pillow raises, DecompressionBombError above `max_pixels`, or 179 million, before any pixel is decoded,
    ValueError for pixels without a known range, and MissingDecoderError for HEIC without pillow-heif.
    """
    try:
        return _decoded(file, max_pixels)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises anything, also for what says nothing of the pixels
        pixels_alone = _bare_png(file)
        if pixels_alone is None:
            raise
        try:
            return _decoded(pixels_alone, max_pixels)
        except Exception:
            raise error from None


def _decoded(file: Path | BinaryIO, max_pixels: int | None) -> Image.Image:
    try:
        opened = Image.open(file, formats=_formats())
    except UnidentifiedImageError:  # Pillow's message has the address of the buffer
        if "HEIF" not in _formats() and _is_heif(_first(file, 12)):
            raise MissingDecoderError(
                "it is HEIC, which needs pillow-heif; install it: pip install 'probe[heif]'."
            ) from None
        raise UnidentifiedImageError(f"cannot identify image file, {_beginning(file)}") from None
    with opened:
        if max_pixels is not None and opened.width * opened.height > max_pixels:
            raise Image.DecompressionBombError(f"{opened.width} x {opened.height} pixels are more than {max_pixels:,}")
        opened.load()
        return to_rgb(opened)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as a library or a user has opened it -> RGB, as `decode` gives it."""
    image = _upright(image.convert("I") if image.mode.startswith("I;") else image)
    if image.mode in ("F", "I"):
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


def _bare_png(file: Path | BinaryIO) -> BinaryIO | None:
    """A PNG without its texts, colour profile and dates; None for another kind, or where it has nothing of these."""
    if isinstance(file, Path):
        content = file.read_bytes()
    else:
        file.seek(0)
        content = file.read()
    if not content.startswith(PNG):
        return None
    kept, position = [PNG], len(PNG)
    while position < len(content):
        size = int.from_bytes(content[position : position + 4], "big") + PNG_SIZES
        chunk, kind = content[position : position + size], content[position + 4 : position + 8]
        is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in PNG_PIXELS or (kind == PNG_ORIENTATION and is_whole):
            kept.append(chunk)
        position += size
    bare = b"".join(kept)
    return BytesIO(bare) if len(bare) < len(content) else None


def _beginning(file: Path | BinaryIO) -> str:
    return "it begins as none of their kinds does" if _first(file, 1) else "it is empty"


def _first(file: Path | BinaryIO, count: int) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return stream.read(count)
    file.seek(0)
    return file.read(count)


def _is_heif(beginning: bytes) -> bool:
    return beginning[4:8] == b"ftyp" and beginning[8:12] in HEIF_BRANDS


@cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow has, HEIF by its plug-in."""
    Image.init()
    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]
