import io
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_data_config  # pyright: ignore[reportPrivateImportUsage]
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from probe.backbones import preprocessing
from probe.backbones.catalogue import VIEWS, BackboneRow, read_rows
from probe.backbones.cropped_resize import cropped_resize
from probe.backbones.preprocessing import Preprocessing
from probe.backbones.timm import row_of
from probe.data.decoding import decode
from probe.errors import UsageError
from tests.conftest import examples

ROOT = Path(__file__).resolve().parents[2]
UNED = read_rows(ROOT / "recipes" / "uned_table4.yaml")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def row_with(**fields) -> BackboneRow:
    return BackboneRow(library="timm", model="any", mean=MEAN, std=STD, **fields)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth blobs and some noise, as photographs have both."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(blobs).astype(int) + rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options) -> Path:
    image.save(folder / name, **options)
    return folder / name


def normalised(row: BackboneRow, pixels: np.ndarray) -> torch.Tensor:
    """(px, px, 3) uint8 -> (3, px, px), as the adapters do on the device."""
    scaled = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)
    return scaled.sub(torch.tensor(row.mean).view(3, 1, 1)).div(torch.tensor(row.std).view(3, 1, 1))


def pixels_of(row: BackboneRow, image: Image.Image) -> np.ndarray:
    """(px, px, 3) uint8."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return Preprocessing(row)(file)[0]


@examples(20, 120)
@given(
    width=st.integers(1, 160),
    height=st.integers(1, 160),
    px=st.integers(8, 48),
    crop_pct=st.sampled_from([1.0, 0.95, 0.9, 0.875, 0.8]),
    resize=st.sampled_from(["shortest+crop", "squash"]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_pixels_equal_torchvisions_resize_crop_and_normalise(
    tmp_path_factory: pytest.TempPathFactory, width, height, px, crop_pct, resize, interpolation
) -> None:
    image = photo(width, height)
    path = saved(tmp_path_factory.getbasetemp(), image)
    row = row_with(px=px, crop_pct=crop_pct, resize=resize, interpolation=interpolation)
    scaled = int(px / crop_pct)
    reference = transforms.Compose(
        [
            transforms.Resize((scaled, scaled) if resize == "squash" else scaled, InterpolationMode(interpolation)),
            transforms.CenterCrop(px),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    pixels, size = Preprocessing(row)(path)
    assert pixels.dtype == np.uint8
    assert size == (width, height)
    torch.testing.assert_close(normalised(row, pixels), reference(image), rtol=0, atol=1e-6)


def odd_sizes(px: int) -> st.SearchStrategy[tuple[int, int]]:
    """Widths and heights whose shorter side is px: the longer one exceeds it by 3, 7, 11…, half of which rounds up."""
    longer = st.integers(0, 20).map(lambda n: px + 4 * n + 3)
    return st.tuples(longer, st.just(px)) | st.tuples(st.just(px), longer)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@examples(20, 120)
@given(size=odd_sizes(40) | st.tuples(st.integers(1, 160), st.integers(1, 160)), px=st.integers(29, 40))
def test_pixels_equal_timms_transform_where_the_margin_is_odd(crop_mode: str, size: tuple[int, int], px: int) -> None:
    crop_pct = px / 40.5
    assert int(px / crop_pct) == 40
    image = photo(*size)
    row = row_with(px=px, crop_pct=crop_pct, resize="squash" if crop_mode == "squash" else "shortest+crop")
    arguments: dict[str, Any] = {"interpolation": "bicubic", "crop_pct": crop_pct, "crop_mode": crop_mode}
    reference: Any = create_transform((3, px, px), normalize=False, **arguments)
    np.testing.assert_array_equal(pixels_of(row, image), reference(image).permute(1, 2, 0).numpy())


def uneds_pixels(image: Image.Image) -> np.ndarray:
    """`_process_test_split` of UnED's datasets.py, with Pillow for TensorFlow's resize."""
    width, height = image.size
    if height <= width:
        w, h = int((width / height) * 224), 224
    else:
        w, h = 224, int((height / width) * 224)
    scaled = np.asarray(image.resize((w, h), Image.Resampling.BILINEAR))
    return scaled[(h - w) // 2 :][:w] if h > w else scaled[:, (w - h) // 2 :][:, :h]


@pytest.mark.parametrize("name", ["uned-in", "uned-in-s", "uned-in-l", "uned-clip", "uned-dinov2"])
@examples(10, 120)
@given(size=odd_sizes(224) | st.tuples(st.integers(100, 400), st.integers(100, 400)))
def test_the_pixels_of_uneds_rows_are_those_of_its_code(name: str, size: tuple[int, int]) -> None:
    shorter, longer = sorted(size)
    assume(int(longer / shorter * 224) == 224 * longer // shorter)  # not so for one size in 7,000
    image = photo(*size)
    np.testing.assert_array_equal(pixels_of(UNED[name], image), uneds_pixels(image))


@examples(15, 120)
@given(width=st.integers(1, 90), height=st.integers(1, 90), px=st.integers(8, 48))
def test_the_view_of_unifexs_inference_model_equals_its_computation_to_the_bit(
    width: int, height: int, px: int
) -> None:
    image = photo(width, height)
    row = row_with(px=px, crop_pct=0.9).model_copy(update=VIEWS["inference"])
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W) uint8
    resized = functional.resize(batch, [px, px], interpolation=InterpolationMode.BICUBIC, antialias=True)
    reference = functional.normalize(resized / 255.0, list(row.mean), list(row.std))
    torch.testing.assert_close(normalised(row, pixels_of(row, image))[None], reference, rtol=0, atol=1e-6)


def test_the_view_of_unifexs_inference_model_is_rounded_once_and_the_test_view_twice() -> None:
    picture = np.random.default_rng(0).integers(0, 2, (60, 80, 3), np.uint8) * np.uint8(255)
    inference, test = (
        pixels_of(row_with(px=48).model_copy(update=VIEWS[view]), Image.fromarray(picture)).astype(int)
        for view in ("inference", "test")
    )
    real = torch.from_numpy(picture).permute(2, 0, 1).double()
    exact = functional.resize(real, [48, 48], InterpolationMode.BICUBIC, antialias=True).clamp(0, 255)
    assert np.abs(inference - exact.permute(1, 2, 0).numpy()).max() < 0.51
    assert np.abs(test - exact.permute(1, 2, 0).numpy()).max() > 5


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (90, 640), (40, 40)], ids=str)
@pytest.mark.parametrize(
    "model",
    [
        "test_vit.r160_in1k",
        "test_resnet.r160_in1k",
        "mobilenetv3_small_050.lamb_in1k",
        "dm_nfnet_f0.dm_in1k",  # squash, with a crop
        "coat_lite_medium_384.in1k",  # squash, without
        "vit_base_patch16_clip_224.openai",
        "vit_5b_patch16_sapiens2.fb",  # 1024 x 768
    ],
)
def test_pixels_equal_timms_own_transform_of_the_models_configuration(tmp_path: Path, model: str, size) -> None:
    image = photo(*size)
    try:
        row = row_of(model)
    except UsageError:
        return  # a preprocessing that is refused is not a wrong one
    configuration = timm.get_pretrained_cfg(model)
    assert configuration is not None
    reference: Any = create_transform(**resolve_data_config({}, pretrained_cfg=configuration.to_dict()))
    pixels, _ = Preprocessing(row)(saved(tmp_path, image))
    torch.testing.assert_close(normalised(row, pixels), reference(image), rtol=0, atol=1e-6)


def test_a_crop_mode_that_is_not_ours_is_refused_by_name() -> None:
    model = next(
        name
        for name in timm.list_pretrained("*deepseek*")
        if (found := timm.get_pretrained_cfg(name)) and found.crop_mode == "border"
    )
    with pytest.raises(UsageError, match=rf"timm:{model} wants crop mode 'border'; write it a catalogue row"):
        row_of(model)


def test_preprocessing_travels_to_workers(tmp_path: Path) -> None:
    preprocessing = Preprocessing(row_with(px=16))
    path = saved(tmp_path, photo(40, 30))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(preprocessing))(path)[0], preprocessing(path)[0])


UPRIGHT = np.asarray(photo(12, 8, seed=3))
STORED = {  # EXIF orientation: how an upright image lies in the file
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_upright_and_their_size_is_the_upright_one(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(STORED[orientation])), exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(path)), UPRIGHT)
    assert Preprocessing(row_with(px=8))(path)[1] == (12, 8)


def test_transparent_pixels_are_put_on_white(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(np.asarray(decode(saved(tmp_path, Image.fromarray(colours)))), expected)
    grey = Image.fromarray(np.array([[[0, 255], [0, 0], [0, 51]]], np.uint8))
    expected = np.repeat([[[0], [255], [204]]], 3, axis=2)
    np.testing.assert_array_equal(np.asarray(decode(saved(tmp_path, grey))), expected)


@pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
def test_a_palettes_transparent_colour_is_put_on_white(tmp_path: Path, name: str) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 128, 0])
    image.putdata([0, 1, 2])
    path = saved(tmp_path, image, name, transparency=1)
    np.testing.assert_array_equal(np.asarray(decode(path)), [[[255, 0, 0], [255, 255, 255], [0, 128, 0]]])


def test_a_palette_without_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = photo(20, 20).quantize(16)
    np.testing.assert_array_equal(np.asarray(decode(saved(tmp_path, image))), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = photo(32, 24).convert("CMYK")
    path = saved(tmp_path, image, "print.tif")
    np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(image.convert("RGB")))
    jpeg = np.asarray(decode(saved(tmp_path, image, "print.jpg", quality=95))).astype(int)
    assert np.abs(jpeg - np.asarray(photo(32, 24))).mean() < 20


def test_greyscale_and_black_and_white_become_rgb(tmp_path: Path) -> None:
    grey = photo(20, 10).convert("L")
    np.testing.assert_array_equal(
        np.asarray(decode(saved(tmp_path, grey))), np.asarray(grey)[..., None].repeat(3, axis=2)
    )
    binary = decode(saved(tmp_path, photo(20, 10).convert("1")))
    assert set(np.unique(np.asarray(binary))) == {0, 255}


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_greyscale_is_scaled_to_8_bits_and_not_clipped(tmp_path: Path, name: str) -> None:
    deep = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    pixels = np.asarray(decode(saved(tmp_path, Image.fromarray(deep), name))).astype(int)
    assert np.abs(pixels - (deep / 257)[..., None]).max() <= 1


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "animation.gif", save_all=True, append_images=frames[1:])
    assert decode(path).getpixel((0, 0)) == (255, 0, 0)


def broken(kind: str) -> bytes:
    buffer = io.BytesIO()
    photo(64, 64).save(buffer, "JPEG")
    content = buffer.getvalue()
    return {"empty": b"", "text": b"<html>404</html>", "truncated": content[: len(content) // 2]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
def test_a_file_that_cannot_be_decoded_raises(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image.jpg").write_bytes(broken(kind))
    with pytest.raises(OSError, match=r"cannot identify image file|truncated"):
        Preprocessing(row_with(px=8))(tmp_path / "image.jpg")


EXTREME = [(3, 4001), (997, 2), (5, 211), (6, 6), (300, 7), (1, 800)]


@pytest.mark.parametrize("size", EXTREME, ids=str)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("px", [7, 16])
def test_a_crop_that_is_computed_alone_has_the_pixels_of_the_whole(
    size: tuple[int, int], interpolation: str, px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Preprocessing(row_with(px=px, crop_pct=0.8, interpolation=interpolation))
    image = photo(*size)
    whole, _ = prepare(image)
    monkeypatch.setattr(preprocessing, "MOST_SCALED", 0)
    np.testing.assert_array_equal(prepare(image)[0], whole)


@examples(30, 150)
@given(data=st.data())
def test_a_crop_that_is_computed_alone_has_the_pixels_of_the_whole_whatever_the_sizes(data: st.DataObject) -> None:
    side = st.integers(1, 90)
    width, height = data.draw(side), data.draw(side)
    scaled = (width + data.draw(side), height + data.draw(side))
    px = data.draw(st.integers(1, min(scaled)))
    left, top = (data.draw(st.integers(0, length - px)) for length in scaled)
    image = photo(width, height, seed=data.draw(st.integers(0, 9)))
    interpolation = data.draw(st.sampled_from(["bilinear", "bicubic"]))
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    whole = np.asarray(image.resize(scaled, filters[interpolation]))[top : top + px, left : left + px]
    np.testing.assert_array_equal(cropped_resize(image, scaled, (left, top), px, interpolation), whole)


def test_a_long_strip_is_prepared_in_little_memory() -> None:
    prepare = Preprocessing(row_with(px=224))
    strip = Image.fromarray(np.arange(20_000, dtype=np.uint8).reshape(20_000, 1, 1).repeat(3, axis=2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels, size = prepare(strip)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # Pillow's memory is not Python's
    assert (pixels.shape, size) == ((224, 224, 3), (1, 20_000))
    assert grown < 100_000  # KiB


def test_a_strip_that_is_scaled_on_tensors_fails_with_a_reason_before_memory_is_taken() -> None:
    prepare = Preprocessing(row_with(px=224, crop_pct=1.0, resampling="tensor"))
    with pytest.raises(ValueError, match=r"1 x 60000 pixels would be scaled to 224 x 13,440,000"):
        prepare(Image.new("RGB", (1, 60_000)))
