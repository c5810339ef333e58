import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    BertConfig,
    BertModel,
    BitImageProcessor,
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTImageProcessor,
    DINOv3ViTModel,
    EfficientNetImageProcessor,
    IJepaConfig,
    IJepaModel,
    LevitConfig,
    LevitImageProcessor,
    LevitModel,
    Owlv2ImageProcessor,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
)
from typer.testing import CliRunner

from feature_cache import FeatureStore, fingerprint
from probe.backbones.catalogue import find_backbone
from probe.backbones.encoder import load_encoder
from probe.backbones.preprocessing import Preprocessing
from probe.backbones.row import BackboneRow
from probe.backbones.transformers import _preprocessing, _share
from probe.cli import app
from probe.errors import UsageError
from tests.backbones.features import features_of, normalised
from tests.conftest import examples

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
VISION: dict[str, Any] = SIZES | {"intermediate_size": 64}
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 60,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
LEVIT: dict[str, Any] = {
    "image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [1, 2, 3], "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
}  # fmt: skip
CROP: dict[str, Any] = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
SQUASH: dict[str, Any] = {"size": {"height": 32, "width": 32}}

# Model, processor, and the feature that `hf:` takes of it.
MODELS: dict[str, tuple[Callable[[], Any], Callable[..., Any], dict[str, Any], str]] = {
    "clip": (
        lambda: CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT)),
        CLIPImageProcessor, CROP, "pre-projection",
    ),
    "siglip": (
        lambda: SiglipModel(SiglipConfig(vision_config=VISION, text_config=TEXT)),
        SiglipImageProcessor, SQUASH, "pre-projection",
    ),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(**SIZES)), BitImageProcessor, CROP, "pooled"),
    "dinov3": (
        lambda: DINOv3ViTModel(DINOv3ViTConfig(**VISION, num_register_tokens=2)),
        DINOv3ViTImageProcessor, SQUASH, "pooled",
    ),
    "vit": (lambda: ViTForImageClassification(ViTConfig(**VISION)), ViTImageProcessor, SQUASH, "cls"),
    "ijepa": (lambda: IJepaModel(IJepaConfig(**VISION)), ViTImageProcessor, SQUASH, "mean"),
    "levit": (
        lambda: LevitModel(LevitConfig(**LEVIT)), LevitImageProcessor,
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}, "pooled",
    ),
}  # fmt: skip


def saved(folder: Path, name: str) -> Any:
    """A random model with its processor in a folder, as `save_pretrained` leaves them."""
    torch.manual_seed(11)
    make_model, make_processor, sizes, _ = MODELS[name]
    model = make_model().eval()
    for parameter in model.parameters():  # fresh weights are too small for images to differ
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    model.save_pretrained(folder)
    make_processor(**sizes).save_pretrained(folder)
    return model


def expected_of(model: Any, name: str, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        if name in ("clip", "siglip"):
            return model.vision_model(pixel_values=pixels).pooler_output
        if name == "vit":
            return model.vit(pixel_values=pixels).last_hidden_state[:, 0]
        if name == "ijepa":
            return model(pixel_values=pixels).last_hidden_state.mean(dim=1)
        return model(pixel_values=pixels).pooler_output


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def pixels_of(processor: Any, image: Image.Image) -> np.ndarray:
    """(px, px, 3) uint8 of the row that the processor comes to."""
    file = BytesIO()
    image.save(file, "PNG")
    row = BackboneRow(library="transformers", model="any", **_preprocessing("any", processor))
    return Preprocessing(row)(file)[0]


@pytest.mark.parametrize("name", MODELS)
def test_features_equal_transformers_own_from_a_folder_a_file_and_the_hubs_cache(
    tmp_path: Path, images: list[Path], hub: Callable[[str], Path], name: str
) -> None:
    folder = tmp_path / "model"
    model = saved(folder, name)
    shutil.copytree(folder, hub("org/tiny"), dirs_exist_ok=True)
    wrapped = tmp_path / "training.pt"
    torch.save({"model": load_file(folder / "model.safetensors"), "epoch": 1}, wrapped)
    for backbone in (
        find_backbone(f"hf:{folder}"),
        find_backbone("hf:org/tiny"),
        find_backbone("hf:org/tiny", weights=wrapped),
    ):
        assert backbone.row.feature == MODELS[name][3]
        encoder = load_encoder(backbone, CPU)
        pixels = normalised(encoder.prepare, backbone.row.mean, backbone.row.std, images)
        expected = expected_of(model, name, pixels)
        assert (expected[0] - expected[1]).abs().max() > 1e-3
        torch.testing.assert_close(features_of(encoder, images), expected, rtol=1e-4, atol=1e-5)
        assert json.loads(json.dumps(backbone.spec())) == backbone.spec()


def test_a_folder_and_the_same_repository_make_the_same_features_and_say_so(
    tmp_path: Path, hub: Callable[[str], Path]
) -> None:
    saved(tmp_path / "tiny", "dinov2")
    shutil.copytree(tmp_path / "tiny", hub("org/tiny"), dirs_exist_ok=True)
    local, cached = find_backbone(f"hf:{tmp_path / 'tiny'}").spec(), find_backbone("hf:org/tiny").spec()
    assert local["backbone"].pop("model") == "tiny"
    assert cached["backbone"].pop("model") == "org/tiny"
    assert local == cached


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "vit", "levit"])
def test_pixels_equal_the_processors_own_with_its_pil_backend(tmp_path: Path, images: list[Path], name: str) -> None:
    saved(tmp_path / "model", name)
    backbone = find_backbone(f"hf:{tmp_path / 'model'}")
    ours = normalised(load_encoder(backbone, CPU).prepare, backbone.row.mean, backbone.row.std, images)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model", backend="pil")
    theirs = processor([Image.open(path) for path in images], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "vit", "dinov3"])
def test_pixels_are_close_to_the_processors_own_with_its_torchvision_backend(
    tmp_path: Path, images: list[Path], name: str
) -> None:
    saved(tmp_path / "model", name)
    backbone = find_backbone(f"hf:{tmp_path / 'model'}")
    ours = normalised(load_encoder(backbone, CPU).prepare, backbone.row.mean, backbone.row.std, images)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model", backend="torchvision")
    theirs = processor([Image.open(path) for path in images], return_tensors="pt")["pixel_values"]
    assert (ours - theirs).abs().mul(torch.tensor(backbone.row.std).view(3, 1, 1)).mean() < 1 / 255


@pytest.mark.parametrize("processor_class", [BitImageProcessorPil, CLIPImageProcessorPil])
@examples(15, 300)
@given(
    shorter=st.integers(1, 60),
    longer=st.integers(0, 60),
    upright=st.booleans(),
    side=st.integers(33, 47),
    resample=st.sampled_from([2, 3]),
)
def test_pixels_equal_the_pil_processors_for_every_size(
    processor_class: Any, shorter: int, longer: int, upright: bool, side: int, resample: int
) -> None:
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": 32, "width": 32}}
    processor = processor_class(**sizes, resample=resample)
    size = (shorter, shorter + longer) if upright else (shorter + longer, shorter)
    image = noise(*size)
    theirs = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(pixels_of(processor, image), theirs.transpose(1, 2, 0))


@pytest.mark.parametrize("processor_class", [BitImageProcessorPil, BitImageProcessor, CLIPImageProcessor])
@examples(15, 300)
@given(margins=st.tuples(st.just(0), st.integers(0, 40)), upright=st.booleans())
def test_both_backends_of_the_library_halve_a_margin_downwards(
    processor_class: Any, margins: tuple[int, int], upright: bool
) -> None:
    """Nothing is scaled here, so that the torchvision backend's pixels are the same, too."""
    processor = processor_class(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    width, height = (36 + margin for margin in (margins if upright else reversed(margins)))
    image = noise(width, height)
    left, top = (width - 32) // 2, (height - 32) // 2
    expected = np.asarray(image)[top : top + 32, left : left + 32]
    theirs = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(theirs.transpose(1, 2, 0), expected)
    np.testing.assert_array_equal(pixels_of(processor, image), expected)


@pytest.mark.parametrize(
    ("processor_class", "field"), [(EfficientNetImageProcessor, "include_top"), (Owlv2ImageProcessor, "do_pad")]
)
def test_a_processor_that_does_more_than_a_row_can_say_is_refused_with_its_fields(
    tmp_path: Path, processor_class: Any, field: str
) -> None:
    saved(tmp_path / "model", "dinov2")
    processor_class().save_pretrained(tmp_path / "model")
    said = rf"its {processor_class.__name__}(Pil)? gives other pixels than a row can say \(it has {field}, too\); write"
    with pytest.raises(UsageError, match=said):
        find_backbone(f"hf:{tmp_path / 'model'}")


def test_what_the_pixels_were_compared_with_is_kept_beside_the_features_and_changes_no_fingerprint(
    tmp_path: Path, images: list[Path]
) -> None:
    saved(tmp_path / "model", "dinov2")
    backbone = find_backbone(f"hf:{tmp_path / 'model'}")
    places = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    words = ["extract", str(images[0].parent), "--backbone", backbone.name, "--workers", "0", "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--max-failures", "1", *places])
    assert done.exit_code == 0, done.output
    [file] = (tmp_path / "cache").rglob("*.h5")
    store = FeatureStore(file)
    kept = store.remarks.evidence
    assert kept is not None
    assert 0 <= kept["pixels"].pop("largest_difference") < 0.01
    assert kept["pixels"] == {
        "processor": "BitImageProcessorPil",
        "library": f"transformers {transformers.__version__}",
        "sizes": [[97, 60], [61, 133], [37, 41]],
    }
    assert "evidence" not in store.spec
    assert store.fingerprint == fingerprint(backbone.spec())
    shown = CliRunner().invoke(app, ["cache", "info", str(file), *places[:2]]).output
    assert yaml.safe_load(shown)["compared"] == FeatureStore(file).remarks.evidence
    seen = find_backbone(f"{backbone.name}@test")  # another preprocessing than the processor's
    assert (backbone.compared is None, seen.compared is None) == (False, True)


def test_a_model_that_masks_patches_at_random_is_refused(tmp_path: Path) -> None:
    ViTMAEModel(ViTMAEConfig(**VISION)).save_pretrained(tmp_path / "mae")
    ViTImageProcessor(**SQUASH).save_pretrained(tmp_path / "mae")
    with pytest.raises(UsageError, match="mae gives other features each time, as models do that mask patches"):
        load_encoder(find_backbone(f"hf:{tmp_path / 'mae'}"), CPU)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            lambda: BertModel(BertConfig(**SIZES)),
            r"is a BertModel, which takes no images; name a model that does\.$",
        ),
        (
            lambda: ViTModel(ViTConfig(**dict(VISION, image_size=64))),
            r"\(ViTModel\) does not .* \(32\*32\) doesn't match",
        ),
    ],
    ids=["text", "another size"],
)
def test_a_model_that_does_not_take_these_images_is_refused(tmp_path: Path, model: Callable, said: str) -> None:
    model().save_pretrained(tmp_path / "model")
    ViTImageProcessor(**SQUASH).save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match=said):
        find_backbone(f"hf:{tmp_path / 'model'}")


def test_timms_models_in_transformers_clothes_are_sent_to_timm(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    config = {"model_type": "timm_wrapper", "architecture": "vit_tiny_patch16_224"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"is timm's vit_tiny_patch16_224; name it timm:vit_tiny_patch16_224\.$"):
        find_backbone(f"hf:{tmp_path}")


def test_the_text_tower_may_lack_anything_and_the_image_tower_nothing(tmp_path: Path) -> None:
    saved(tmp_path / "model", "clip")
    state = load_file(tmp_path / "model" / "model.safetensors")
    without_text = {key: value for key, value in state.items() if not key.startswith("text_model")}
    save_file(without_text, tmp_path / "part.safetensors")
    name = f"hf:{tmp_path / 'model'}"
    assert load_encoder(find_backbone(name, weights=tmp_path / "part.safetensors"), CPU).dim == 32
    key = "vision_model.post_layernorm.weight"
    save_file({name: value for name, value in state.items() if name != key}, tmp_path / "part.safetensors")
    with pytest.raises(UsageError, match=r"does not fit the model: 1 missing \(.*post_layernorm\.weight\)"):
        load_encoder(find_backbone(name, weights=tmp_path / "part.safetensors"), CPU)


def test_the_checkpoint_of_another_shape_is_refused_with_what_differs(tmp_path: Path) -> None:
    saved(tmp_path / "model", "dinov2")
    state = load_file(tmp_path / "model" / "model.safetensors")
    state["layernorm.weight"] = torch.ones(9)
    save_file(state | {"extra": torch.ones(1)}, tmp_path / "other.safetensors")
    said = r"1 unexpected \(extra\); 1 of another shape \(layernorm\.weight is \(9,\), not \(32,\)\)"
    with pytest.raises(UsageError, match=said):
        load_encoder(find_backbone(f"hf:{tmp_path / 'model'}", weights=tmp_path / "other.safetensors"), CPU)


def test_a_repository_that_is_not_here_is_named_with_its_remedy() -> None:
    with pytest.raises(UsageError, match=r"hf:org/absent are not in the local .* `hf download org/absent .*hf:FOLDER"):
        find_backbone("hf:org/absent")


def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model", "dinov2")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(UsageError, match="code of its own, which is never run"):
        find_backbone(f"hf:{tmp_path / 'model'}")


def test_a_folder_whose_weights_are_in_shards_says_so(tmp_path: Path) -> None:
    saved(tmp_path / "model", "dinov2")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "model-00001-of-00002.safetensors")
    with pytest.raises(UsageError, match=r"has no model\.safetensors or pytorch_model\.bin; .* shards"):
        find_backbone(f"hf:{tmp_path / 'model'}")


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"longest_edge": 40}},
        {"size": {"shortest_edge": 30}},
        {"resample": 0},
        {"do_normalize": False},
        {"do_center_crop": False},
    ],
    ids=str,
)
def test_a_preprocessing_that_no_row_can_say_is_refused(tmp_path: Path, change: dict) -> None:
    saved(tmp_path / "model", "clip")
    path = tmp_path / "model" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="no row can say what its"):
        find_backbone(f"hf:{tmp_path / 'model'}")


def test_the_shorter_side_is_exactly_the_processors() -> None:
    for px in (32, 224, 336, 378, 518):
        for side in range(px, 2 * px):
            assert int(px / _share(px, side)) == side
