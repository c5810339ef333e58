import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from probe.backbones.catalogue import Backbone, BackboneRow, find_backbone
from probe.backbones.encoder import load_encoder
from probe.backbones.open_clip import row_of
from probe.backbones.preprocessing import Preprocessing
from probe.errors import UsageError
from tests.backbones.features import features_of, normalised
from tests.conftest import examples

open_clip: Any = lazy_loader.load("open_clip")  # takes five seconds, in each of pytest's processes
CPU = torch.device("cpu")
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16}
MODELS = {
    "tiny-vit": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-averaged": {
        "embed_dim": 24,
        "vision_cfg": VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": TEXT,
    },
    "tiny-convnext": {
        "embed_dim": 24,
        "vision_cfg": {
            "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "timm_drop_path": 0.1,
            "image_size": 32,
        },
        "text_cfg": TEXT,
    },
    "tiny-trunk-projects": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160},
        "text_cfg": TEXT,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _models(tmp_path: Path) -> None:
    for name, configuration in MODELS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(configuration))
        open_clip.add_model_config(tmp_path / f"{name}.json")


def random_model(name: str) -> Any:
    torch.manual_seed(5)
    return open_clip.create_model(name, pretrained=None, load_weights=False).eval()


def row_with(name: str, **fields) -> BackboneRow:
    px = MODELS[name]["vision_cfg"]["image_size"]
    return BackboneRow(**({"library": "open_clip", "model": name, "px": px, "feature": "pre-projection"} | fields))


def expected_of(model: Any, row: BackboneRow, images: list[Path]) -> torch.Tensor:
    transform: Any = open_clip.transform.image_transform(
        row.px,
        is_train=False,
        mean=row.mean,
        std=row.std,
        resize_mode="squash" if row.resize == "squash" else "shortest",
        interpolation=row.interpolation,
    )
    batch = torch.stack([transform(Image.open(path)) for path in images])
    with torch.inference_mode():
        if row.feature == "projected":
            return model.encode_image(batch)
        if hasattr(model.visual, "trunk"):
            return model.visual.trunk.forward_head(model.visual.trunk.forward_features(batch), pre_logits=True)
        model.visual.proj = None
        return model.visual(batch)


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@examples(15, 300)
@given(width=st.integers(1, 120), height=st.integers(1, 120), interpolation=st.sampled_from(["bilinear", "bicubic"]))
@example(width=35, height=32, interpolation="bicubic")
@example(width=32, height=39, interpolation="bicubic")
def test_pixels_equal_open_clips_transform_for_every_size(
    resize: str, width: int, height: int, interpolation: str
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    file = BytesIO()
    image.save(file, "PNG")
    rule = "squash" if resize == "squash" else "shortest+crop"
    row = BackboneRow(library="open_clip", model="any", px=32, resize=rule, interpolation=interpolation)  # pyright: ignore[reportArgumentType]
    plain: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    transform: Any = open_clip.transform.image_transform(
        32, is_train=False, resize_mode=resize, interpolation=interpolation, **plain
    )
    theirs = transform(image).mul(255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(Preprocessing(row)(file)[0], theirs)


@pytest.mark.parametrize("feature", ["pre-projection", "projected"])
@pytest.mark.parametrize("name", MODELS)
def test_features_equal_open_clips_own_from_a_file_and_from_the_hubs_cache(
    tmp_path: Path, images: list[Path], hub: Callable[[str], Path], name: str, feature: str
) -> None:
    model = random_model(name)
    row = row_with(name, feature=feature, repository="org/tiny")
    weights = tmp_path / "clip.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": v for key, v in model.state_dict().items()}}, weights)
    save_file(model.state_dict(), hub("org/tiny") / "open_clip_model.safetensors")
    expected = expected_of(model, row, images)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    for backbone in (Backbone("tiny", row, weights=weights), Backbone("tiny", row)):
        encoder = load_encoder(backbone, CPU)
        assert encoder.dim == expected.shape[1]
        torch.testing.assert_close(features_of(encoder, images), expected, rtol=1e-4, atol=1e-5)


def test_the_older_file_of_a_repository_is_found_too(images: list[Path], hub: Callable[[str], Path]) -> None:
    model = random_model("tiny-vit")
    torch.save(model.state_dict(), hub("org/tiny") / "open_clip_pytorch_model.bin")
    backbone = Backbone("tiny", row_with("tiny-vit", repository="org/tiny"))
    expected = expected_of(model, backbone.row, images)
    torch.testing.assert_close(features_of(load_encoder(backbone, CPU), images), expected, rtol=1e-4, atol=1e-5)


def test_the_image_tower_alone_is_a_checkpoint_too(tmp_path: Path, images: list[Path]) -> None:
    model = random_model("tiny-vit")
    save_file(model.visual.state_dict(), tmp_path / "tower.safetensors")
    backbone = Backbone("tiny", row_with("tiny-vit"), weights=tmp_path / "tower.safetensors")
    expected = expected_of(model, backbone.row, images)
    torch.testing.assert_close(features_of(load_encoder(backbone, CPU), images), expected, rtol=1e-4, atol=1e-5)


class _OpenAIs(torch.nn.Module):
    """What OpenAI's archives hold: the towers, and three numbers as buffers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual, self.token_embedding = model.visual, model.token_embedding
        for name, value in (("input_resolution", 32), ("context_length", 8), ("vocab_size", 64)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_openais_torchscript_archives_are_checkpoints_too(tmp_path: Path, images: list[Path]) -> None:
    model = random_model("tiny-vit").half()
    archive = torch.jit.trace(_OpenAIs(model).eval(), torch.zeros(1, 3, 32, 32, dtype=torch.half), check_trace=False)
    torch.jit.save(archive, tmp_path / "ViT-B-16.pt")
    backbone = Backbone("tiny", row_with("tiny-vit"), weights=tmp_path / "ViT-B-16.pt")
    expected = expected_of(model.float(), backbone.row, images)
    torch.testing.assert_close(features_of(load_encoder(backbone, CPU), images), expected, rtol=1e-4, atol=1e-5)


def test_the_text_tower_may_lack_anything_and_the_image_tower_nothing(tmp_path: Path) -> None:
    state = random_model("tiny-vit").state_dict()
    for key, fits in (("token_embedding.weight", True), ("visual.ln_post.weight", False)):
        torch.save({name: value for name, value in state.items() if name != key}, tmp_path / "part.pt")
        backbone = Backbone("tiny", row_with("tiny-vit"), weights=tmp_path / "part.pt")
        if fits:
            assert load_encoder(backbone, CPU).dim == 64
        else:
            with pytest.raises(UsageError, match=r"part\.pt does not fit the model: 1 missing \(ln_post\.weight\)"):
                load_encoder(backbone, CPU)


@pytest.mark.parametrize("name", ["ViT-L-14/openai", "ViT-B-16/metaclip_fullcc", "ViT-H-14/dfn5b", "ViT-L-14/dfn2b"])
def test_a_tag_trained_with_quickgelu_is_refused_without_it(name: str) -> None:
    right = name.replace("/", "-quickgelu/")
    with pytest.raises(UsageError, match=rf"was trained with QuickGELU; use {right}\."):
        find_backbone(f"open_clip:{name}")
    assert row_of(right).model == right
    row = row_of(right).model_copy(update={"model": name})
    with pytest.raises(UsageError, match="QuickGELU"):
        load_encoder(Backbone("mine", row, weights=Path(__file__)), CPU)


def test_a_tag_trained_with_gelu_is_refused_by_the_quickgelu_model() -> None:
    with pytest.raises(UsageError, match=r"no pretrained tag|use ViT-B-16/laion2b_s34b_b88k"):
        find_backbone("open_clip:ViT-B-16-quickgelu/laion2b_s34b_b88k")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ViT-B-61/openai", r"open_clip has no model 'ViT-B-61'; did you mean 'ViT-B-16'\?"),
        ("ViT-B-16/opena", r"names no pretrained tag of ViT-B-16; did you mean 'openai'\?"),
        ("ViT-B-16", r"names no pretrained tag of ViT-B-16; known: .*laion2b_s34b_b88k"),
    ],
)
def test_an_unknown_model_or_tag_names_the_nearest(name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        find_backbone(f"open_clip:{name}")


@pytest.mark.parametrize(
    "name",
    ["ViT-H-14-CLIPA-336/datacomp1b", "ViT-B-16-quickgelu/openai", "MobileCLIP2-S0/dfndr2b", "PE-Core-B-16/meta"],
)
@pytest.mark.parametrize("size", [(500, 333), (333, 500), (90, 640), (40, 40)], ids=str)
def test_pixels_equal_open_clips_own_evaluation_transform(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    model, _, tag = name.partition("/")
    row, tagged = row_of(name), open_clip.get_pretrained_cfg(model, tag)
    path = tmp_path / "image.png"
    Image.effect_noise(size, 80).convert("RGB").save(path)
    transform: Any = open_clip.transform.image_transform(
        row.px, is_train=False, mean=tagged["mean"], std=tagged["std"],
        resize_mode=tagged["resize_mode"], interpolation=tagged["interpolation"],
    )  # fmt: skip
    ours = normalised(Preprocessing(row), row.mean, row.std, [path])
    torch.testing.assert_close(ours[0], transform(Image.open(path)), rtol=0, atol=1e-6)
