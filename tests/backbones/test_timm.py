import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config  # pyright: ignore[reportPrivateImportUsage]

from probe.backbones.catalogue import Backbone, BackboneRow, find_backbone
from probe.backbones.encoder import Encoder, load_encoder
from probe.errors import ProbeError, UsageError

CPU = torch.device("cpu")
VIT, MOBILENET = "test_vit.r160_in1k", "mobilenetv3_small_050.lamb_in1k"
ROW = BackboneRow(library="timm", model=VIT, px=32, options={"img_size": 32})

State = dict[str, torch.Tensor]


def encoder_of(row: BackboneRow, weights: Path) -> Encoder:
    return load_encoder(Backbone("mine", row, weights=weights), CPU)


def random_model(name: str, num_classes: int, **options) -> torch.nn.Module:
    """A model whose random weights are not small, so that its features depend on all of them."""
    torch.manual_seed(7)
    model = timm.create_model(name, num_classes=num_classes, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)  # pyright: ignore[reportArgumentType]
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)  # pyright: ignore[reportArgumentType]
    return model.eval()


def saved(folder: Path, state: State, suffix: str = ".safetensors") -> Path:
    path = folder / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("name", [VIT, pytest.param(MOBILENET, marks=pytest.mark.slow)])
def test_features_equal_timms_own_with_and_without_a_classifier_in_the_file(
    tmp_path: Path, name: str, num_classes: int, suffix: str
) -> None:
    model = random_model(name, num_classes)
    weights = saved(tmp_path, model.state_dict(), suffix)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, size, np.uint8)) for size in ((70, 90, 3), (200, 180, 3))]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    transform: Any = create_transform(**resolve_data_config({}, model=model))
    model.reset_classifier(0)  # pyright: ignore[reportCallIssue]
    with torch.inference_mode():
        expected = model(torch.stack([torch.as_tensor(transform(image)) for image in images]))

    encoder = load_encoder(find_backbone(f"timm:{name}", weights=weights), CPU)
    prepared = [torch.from_numpy(encoder.prepare(tmp_path / f"{i}.png")[0].copy()) for i in range(2)]
    features = encoder(torch.stack(prepared))
    assert features.shape == (2, encoder.dim)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_an_encoder_is_frozen_and_an_image_has_the_same_features_in_any_batch(tmp_path: Path) -> None:
    model = random_model(MOBILENET, 0)
    row = BackboneRow(library="timm", model=MOBILENET, px=64)
    encoder = encoder_of(row, saved(tmp_path, model.state_dict()))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8))
    whole = encoder(pixels)
    assert not whole.requires_grad
    torch.testing.assert_close(torch.cat([encoder(pixels[:1]), encoder(pixels[1:])]), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(pixels), whole, rtol=0, atol=0)


def vit_state(change: Callable[[State], None]) -> State:
    state = timm.create_model(VIT, num_classes=0, img_size=32).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda state: state.pop("norm.weight"), r"1 missing \(norm\.weight\)"),
        (lambda state: state.update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (
            lambda state: state.update(cls_token=torch.ones(1, 1, 9)),
            r"1 of another shape \(cls_token is \(1, 1, 9\), not \(1, 1, 64\)\)",
        ),
        (lambda state: state.clear(), r"\d+ missing \(cls_token, .*, …\)"),
    ],
    ids=["lacks", "unknown", "shape", "empty"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_what_differs(tmp_path: Path, change, what: str) -> None:
    path = saved(tmp_path, vit_state(change), ".pt")
    with pytest.raises(UsageError, match=rf"weights\.pt does not fit the model: {what}; check the model's name"):
        encoder_of(ROW, path)


def test_the_checkpoint_of_another_model_gives_a_short_report(tmp_path: Path) -> None:
    path = saved(tmp_path, random_model(MOBILENET, 0).state_dict())
    with pytest.raises(UsageError, match=r"does not fit the model: \d+ missing .*; \d+ unexpected ") as caught:
        encoder_of(ROW, path)
    assert str(caught.value).count(", …") == 2
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("name", "content"),
    [(f"{kind}{suffix}", content) for kind, content in (("empty", b""), ("junk", b"hello" * 40))
     for suffix in (".safetensors", ".pt")],
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProbeError, match=rf"{name} cannot be read as weights"):
        encoder_of(ROW, tmp_path / name)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".pt"):
        path = saved(tmp_path, vit_state(lambda state: None), suffix)
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(ProbeError, match=rf"weights{suffix} cannot be read as weights"):
            encoder_of(ROW, path)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(3), {0: torch.ones(1)}, {"cls_token": 3}], ids=["list", "tensor", "keys", "values"]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ProbeError, match=r"odd\.pt "):
        encoder_of(ROW, tmp_path / "odd.pt")


class _Command:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_with_a_command_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"cls_token": _Command(tmp_path / "owned")}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Command(tmp_path / "owned"), protocol=2))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(ProbeError, match=f"{name} cannot be read as weights"):
            encoder_of(ROW, tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"timm has no model 'mobilenetv3_smal_050'; did you mean 'mobilenetv3_sm"):
        find_backbone("timm:mobilenetv3_smal_050")


def test_an_unknown_pretrained_tag_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="nope"):
        find_backbone("timm:resnet18.nope")


@pytest.mark.parametrize(
    ("change", "what"),
    [({"model": "test_vits"}, "test_vits"), ({"options": {"img_sise": 32}}, "img_sise")],
    ids=["model", "option"],
)
def test_a_catalogue_row_with_an_unknown_model_or_option_is_refused_in_a_sentence(
    tmp_path: Path, change: dict, what: str
) -> None:
    weights = saved(tmp_path, vit_state(lambda state: None))
    backbone = Backbone("mine", ROW.model_copy(update=change), weights=weights)
    with pytest.raises(UsageError, match=what):
        load_encoder(backbone, CPU)


def test_without_a_network_one_sentence_names_the_repository_and_the_file() -> None:
    with pytest.raises(UsageError) as caught:
        find_backbone(f"timm:{VIT}").spec()
    said = str(caught.value)
    assert f"the weights of timm:{VIT} are not in the local Hugging Face cache" in said
    assert "HF_HUB_OFFLINE is set" in said
    assert f"run `hf download timm/{VIT} model.safetensors` where there is a network" in said
    assert "name the file with --weights" in said
    assert "\n" not in said


def test_without_a_network_weights_in_the_local_cache_are_found(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / f"models--timm--{VIT}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(random_model(VIT, 0).state_dict(), snapshot / "model.safetensors")
    backbone = find_backbone(f"timm:{VIT}")
    assert backbone.weights_file == snapshot / "model.safetensors"
    assert load_encoder(backbone, CPU).dim == 64


def test_a_model_without_weights_on_the_hub_asks_for_a_file() -> None:
    with pytest.raises(UsageError, match=r"'timm:gcvit_base\.in1k' are not on the hub: .* --weights"):
        find_backbone("timm:gcvit_base.in1k").spec()


def test_weights_of_another_digest_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path, vit_state(lambda state: None))
    backbone = Backbone("mine", ROW.model_copy(update={"sha256": "0" * 64}), weights=weights)
    with pytest.raises(UsageError, match=r"weights\.safetensors has SHA-256 .*…, and mine needs 000000000000…"):
        load_encoder(backbone, CPU)


@pytest.mark.slow
def test_the_weights_of_another_patch_size_are_refused_and_those_of_another_image_size_fitted(tmp_path: Path) -> None:
    row = BackboneRow(library="timm", model="vit_tiny_patch16_224", px=96, options={"img_size": 96})
    for patch, fits in ((16, True), (14, False)):
        state = timm.create_model("vit_tiny_patch16_224", num_classes=0, patch_size=patch).state_dict()
        path = saved(tmp_path, state)
        if fits:
            assert encoder_of(row, path).dim == 192
        else:
            with pytest.raises(UsageError, match=r"1 of another shape \(patch_embed\.proj\.weight is .* 14, 14\)"):
                encoder_of(row, path)
