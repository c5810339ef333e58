from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from probe.backbones.catalogue import Backbone, BackboneRow, find_backbone
from probe.backbones.encoder import Encoder, load_encoder
from probe.errors import UsageError

CPU = torch.device("cpu")
RESNET = "test_resnet.r160_in1k"


def loaded(folder: Path, module: torch.nn.Module, **fields) -> Encoder:
    prefix = fields.get("prefix") or ""
    state = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    save_file(state, folder / "weights.safetensors")
    row = BackboneRow(**({"library": "timm", "model": RESNET, "px": 64} | fields))
    return load_encoder(Backbone("mine", row, weights=folder / "weights.safetensors"), CPU)


@pytest.fixture
def resnet() -> torch.nn.Module:
    torch.manual_seed(1)
    return timm.create_model(RESNET, num_classes=10).eval()


def test_a_row_whose_dimension_is_not_the_models_is_refused(tmp_path: Path, resnet: torch.nn.Module) -> None:
    dim = loaded(tmp_path, resnet).dim
    assert loaded(tmp_path, resnet, dim=dim).dim == dim
    with pytest.raises(UsageError, match=rf"gives pooled features of shape \({dim},\), not 7 numbers an image"):
        loaded(tmp_path, resnet, dim=7)


def test_a_feature_that_is_no_vector_is_refused(tmp_path: Path, resnet: torch.nn.Module) -> None:
    with pytest.raises(UsageError, match=r"gives pooled features of shape \(\d+, \d+, \d+\), not one vector an image"):
        loaded(tmp_path, resnet, options={"global_pool": ""})


def test_images_of_a_size_that_the_model_does_not_take_are_refused_in_a_sentence(tmp_path: Path) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(UsageError, match=r"does not run on images of 64 x 64: Input height .* check the row's px"):
        loaded(tmp_path, vit, model="vit_tiny_patch16_224")


def test_a_feature_that_the_library_does_not_have_is_refused(tmp_path: Path, resnet: torch.nn.Module) -> None:
    with pytest.raises(UsageError, match=r"has no feature 'cls'; there are pooled, "):
        loaded(tmp_path, resnet, feature="cls")


def test_projected_keeps_the_classifier_of_the_file(tmp_path: Path, resnet: torch.nn.Module) -> None:
    encoder = loaded(tmp_path, resnet, feature="projected", options={"num_classes": 10})
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = resnet((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_gem_is_the_cubic_root_of_the_mean_cube(tmp_path: Path, resnet: torch.nn.Module) -> None:
    encoder = loaded(tmp_path, resnet, feature="gem")
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        maps = resnet.forward_features((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)  # pyright: ignore[reportCallIssue]
    expected = maps.double().clamp(min=1e-6).pow(3).flatten(2).mean(dim=2).pow(1 / 3)
    torch.testing.assert_close(encoder(images).double(), expected, rtol=1e-4, atol=1e-5)


def test_sams_features_before_its_neck_are_the_average_of_its_last_block(tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = {"global_pool": "avg", "embed_dim": 32, "depth": 2, "num_heads": 2, "global_attn_indexes": [1]}
    sam = timm.create_model("samvit_base_patch16", num_classes=0, **options).eval()
    last: list[torch.Tensor] = []
    sam.neck.register_forward_pre_hook(lambda _, arguments: last.append(arguments[0]))  # pyright: ignore
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        after = sam((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)
    fields = {"model": "samvit_base_patch16", "px": 224, "options": options}
    before = loaded(tmp_path, sam, feature="pre-neck", **fields)(images)
    torch.testing.assert_close(before, last[0].mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loaded(tmp_path, sam, **fields)(images), after, rtol=1e-4, atol=1e-5)


def test_sams_flattened_map_is_its_quarters_and_pooled_to_64_the_average_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "global_attn_indexes": [1]}
    sam = timm.create_model("samvit_base_patch16", num_classes=0, **options).eval()
    images = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        maps = sam.forward_features((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)  # pyright: ignore[reportCallIssue]
    assert maps.shape == (1, 256, 14, 14)
    fields = {"model": "samvit_base_patch16", "px": 224}
    flat = loaded(tmp_path, sam, feature="flattened", options=options, **fields)(images)
    quarters = [maps[..., y : y + 7, x : x + 7].mean(dim=(2, 3)) for y in (0, 7) for x in (0, 7)]
    torch.testing.assert_close(flat, torch.stack(quarters, dim=2).flatten(1), rtol=1e-4, atol=1e-5)
    average = loaded(tmp_path, sam, options=options | {"global_pool": "avg"}, **fields)(images)
    pool = torch.nn.AdaptiveAvgPool1d(64)
    torch.testing.assert_close(pool(flat), pool(average), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pool(maps.flatten(1)), pool(average), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["test_vit", "test_mambaout"])
def test_a_model_that_ends_in_no_map_of_channels_cannot_be_flattened(tmp_path: Path, model: str) -> None:
    module = timm.create_model(model, num_classes=0)
    with pytest.raises(UsageError, match=rf"timm's {model} ends in no map"):
        loaded(tmp_path, module, model=model, px=160, feature="flattened")


def test_a_part_of_a_checkpoint_is_chosen_by_its_prefix(tmp_path: Path, resnet: torch.nn.Module) -> None:
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(
        loaded(tmp_path, resnet, prefix="features.")(images), loaded(tmp_path, resnet)(images), rtol=0, atol=0
    )
    save_file({"teacher.fc.bias": torch.ones(1)}, tmp_path / "other.safetensors")
    row = BackboneRow(library="timm", model=RESNET, px=64, prefix="features.")
    with pytest.raises(UsageError, match=r"has no key that begins with 'features\.'; the first are teacher\.fc\.bias"):
        load_encoder(Backbone("mine", row, weights=tmp_path / "other.safetensors"), CPU)


@pytest.mark.slow
def test_a_multigrain_checkpoint_runs_as_its_row_says(tmp_path: Path) -> None:
    """As the authors' code writes it: wrapped, with a classifier and the exponent beside the trunk."""
    torch.manual_seed(1)
    trunk = timm.create_model("resnet50", num_classes=0).eval()
    state = {f"features.{key}": v for key, v in trunk.state_dict().items() if "num_batches_tracked" not in key}
    state |= {
        "pool.p": torch.tensor(3.0),
        "classifier.weight": torch.ones(9, 2048),
        "classifier.bias": torch.ones(9),
    }
    torch.save({"model_state": state, "extra": {"epoch": 120}}, tmp_path / "joint_3B_0.5.pth")
    encoder = load_encoder(find_backbone("multigrain-resnet50", weights=tmp_path / "joint_3B_0.5.pth"), CPU)
    features = encoder(torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8))
    assert features.shape == (1, 2048)
    assert features.min() > 0
