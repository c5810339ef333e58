"""Kinds of files that a million images from the web have among them, each made here byte by byte."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probe.data import check_data, image_folder
from probe.data.decoding import MissingDecoderError, _formats, decode
from probe.data.loading import decoded_batches
from probe.embed import list_images
from probe.errors import UsageError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(io.BytesIO(content))).astype(int)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG of any bit depth and colour type, which Pillow itself does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_cmyk_jpeg_of_adobes_comes_out_in_its_colours() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red; Adobe stores inks inverted, and Pillow writes it so
    content = encoded(ink, "JPEG", quality=95)
    assert b"Adobe" in content
    assert np.abs(pixels(content) - RED).max() < 12


def test_16_bit_colour_keeps_its_eight_high_bits() -> None:
    row = struct.pack(">6H", 0xFF10, 0x8020, 0x0130, 0x00FF, 0x7FFF, 0xFFFF)
    np.testing.assert_array_equal(pixels(png(2, 1, 16, 2, b"\0" + row)), [[[255, 128, 1], [0, 127, 255]]])


def test_16_bit_grey_with_transparency_is_put_on_white() -> None:
    row = struct.pack(">4H", 0x8000, 0xFFFF, 0x8000, 0)
    np.testing.assert_array_equal(pixels(png(2, 1, 16, 4, b"\0" + row)), [[[128] * 3, [255] * 3]])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey_reach_from_black_to_white(depth: int) -> None:
    row = bytes([((1 << depth) - 1) << (8 - depth)])  # one white pixel, then black
    assert pixels(png(2, 1, depth, 0, b"\0" + row)).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_stands_for_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(content)), "n_frames", 1) == 2
    np.testing.assert_array_equal(pixels(content), np.full((8, 8, 3), RED))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_content_decides_and_not_the_files_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image.jpg").write_bytes(encoded(Image.new("RGB", (4, 4), RED), kind))
    assert np.abs(np.asarray(decode(tmp_path / "image.jpg")).astype(int) - RED).max() < 3


def test_a_tiff_is_turned_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("RGB", (6, 4)), "TIFF", exif=exif)
    assert decode(io.BytesIO(content)).size == (4, 6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_does_not_cost_the_image() -> None:
    content = encoded(Image.new("RGB", (8, 6), BLUE), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert decode(io.BytesIO(content)).size == (8, 6)
    assert decode(io.BytesIO(encoded(Image.new("RGB", (8, 6)), "JPEG", exif=b"Exif\0\0garbage"))).size == (8, 6)


def test_a_colour_profile_changes_nothing() -> None:
    image = Image.new("RGB", (8, 8), (200, 100, 50))
    np.testing.assert_array_equal(pixels(encoded(image, "PNG", icc_profile=b"any")), pixels(encoded(image, "PNG")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_an_error_whatever_its_kind(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = encoded(noise, kind)
    with pytest.raises((OSError, SyntaxError, ValueError, EOFError, IndexError)):
        decode(io.BytesIO(content[: len(content) // 2]))


def test_a_decompression_bomb_is_refused_by_its_size_before_its_pixels_are_made() -> None:
    with pytest.raises(Image.DecompressionBombError, match=r"Image size \(400000000 pixels\) exceeds limit"):
        decode(io.BytesIO(png(20_000, 20_000, 1, 0, b"")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "begins as none of their kinds does"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "begins as none of their kinds does"),
    ],
    ids=["zero-byte", "text", "PostScript"],
)
def test_the_reason_for_what_is_no_image_says_what_is_there(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "image.jpg").write_bytes(content)
    for file in (io.BytesIO(content), tmp_path / "image.jpg"):
        with pytest.raises(OSError, match=f"cannot identify image file, .*{reason}"):
            decode(file)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
def test_pixels_without_a_known_range_are_refused(mode: str, value: float) -> None:
    content = encoded(Image.new(mode, (4, 4), value), "TIFF")
    with pytest.raises(ValueError, match="nothing says how bright they are"):
        decode(io.BytesIO(content))


@pytest.fixture
def telephone(tmp_path: Path) -> Path:
    """A folder with a HEIC, red above blue once it is turned upright."""
    heif = pytest.importorskip("pillow_heif")
    upright = Image.new("RGB", (64, 96), RED)
    upright.paste(BLUE, (0, 48, 64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(upright.transpose(Image.Transpose.ROTATE_90)).save(tmp_path / "photo.heic", exif=exif.tobytes())
    return tmp_path


@pytest.fixture
def without_plug_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    _formats.cache_clear()
    yield
    _formats.cache_clear()


def test_heic_is_turned_upright_once(telephone: Path) -> None:
    found = pixels((telephone / "photo.heic").read_bytes())
    assert found.shape == (96, 64, 3)
    assert np.abs(found[:40] - RED).max() < 20
    assert np.abs(found[56:] - BLUE).max() < 20


def test_heic_in_a_folder_is_found_checked_and_embedded(telephone: Path) -> None:
    check = check_data("telephone", image_folder(telephone), [], None, 0, telephone.parent)
    assert (check.images, check.decoded) == (1, 1)
    assert not [each.what for each in check.findings if "decoded" in each.what]
    [image] = list_images(telephone)
    assert image.decode().size == (64, 96)


def test_heic_without_its_plug_in_names_the_extra_and_is_tried_again(telephone: Path, without_plug_in: None) -> None:
    with pytest.raises(MissingDecoderError, match=r"needs pillow-heif; install it: pip install 'probe\[heif\]'"):
        decode(telephone / "photo.heic")
    prepare = lambda file: (np.asarray(decode(file)), (1, 1))  # noqa: E731
    with decoded_batches(["photo.heic"], telephone, prepare, batch=1, workers=0) as batches:
        [batch] = batches
    assert [each.id for each in batch.unread] == ["photo.heic"]
    with pytest.raises(UsageError, match=r"photo\.heic: it is HEIC"):
        list_images(telephone)[0].decode()
    assert batch.failures == []


def with_chunk(content: bytes, extra: bytes, last: bool) -> bytes:
    """A PNG with a chunk more, behind its header or before its end."""
    place = content.rindex(b"IEND") - 4 if last else len(b"\x89PNG\r\n\x1a\n") + 25
    return content[:place] + extra + content[place:]


LONG = b"Comment\0\0" + zlib.compress(bytes(3 << 20))
ODD_CHUNKS = {
    "a long compressed text": chunk(b"zTXt", LONG),
    "a long international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0x")[:-1] + b"?",
    "a colour profile that is none": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(3 << 20))),
}


@pytest.mark.parametrize("last", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("extra", ODD_CHUNKS.values(), ids=ODD_CHUNKS.keys())
def test_what_a_png_says_beside_its_pixels_does_not_cost_them(tmp_path: Path, extra: bytes, last: bool) -> None:
    plain = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)), "PNG")
    content = with_chunk(plain, extra, last)
    np.testing.assert_array_equal(pixels(content), pixels(plain))
    (tmp_path / "image.png").write_bytes(content)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "image.png")), pixels(plain))


def test_a_png_with_a_long_text_is_still_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = with_chunk(
        encoded(Image.new("RGB", (6, 4)), "PNG", exif=exif), ODD_CHUNKS["a long compressed text"], True
    )
    assert decode(io.BytesIO(content)).size == (4, 6)
    damaged = bytearray(content)
    damaged[content.index(b"eXIf") + 6] ^= 0xFF
    assert decode(io.BytesIO(bytes(damaged))).size == (6, 4)


def test_damaged_pixels_of_a_png_stay_an_error_with_their_own_reason() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = with_chunk(encoded(noise, "PNG"), ODD_CHUNKS["a long compressed text"], last=True)
    damaged = bytearray(content)
    damaged[content.index(b"IDAT") + 3000] ^= 0xFF
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode(io.BytesIO(bytes(damaged)))


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("turned", [1, 6])
def test_16_bit_grey_is_scaled_in_either_byte_order_and_turned_upright(order: str, turned: int) -> None:
    values = np.array([[0, 257, 65535], [32768, 514, 1000]], np.uint16)
    exif = Image.Exif()
    exif[0x0112] = turned
    mode = "I;16B" if order == ">" else "I;16"
    image = Image.frombytes(mode, (3, 2), values.astype(f"{order}u2").tobytes())
    expected = np.round(values / 257)
    expected = expected if turned == 1 else np.rot90(expected, -1)
    found = pixels(encoded(image, "TIFF", exif=exif))
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))
