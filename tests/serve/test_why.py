"""Why a hit matched: each position's share of the similarity, against the similarity itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from probe import Index
from probe.backbones import BackboneRow, Encoder, positions, restore_encoder
from probe.backbones.encoder import adapter
from probe.backbones.module import ModuleEncoder
from probe.backbones.timm import build
from probe.embed import contributions, load
from probe.errors import UsageError
from probe.precision import Precision
from probe.runs import RunDirectory
from probe.serve import Limits, create_app
from tests.embed.conftest import World
from tests.serve.conftest import copy_photos

CPU = torch.device("cpu")
MEAN = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
HEADS = [
    {"head": {"kind": "random-projection", "dim": 16}},
    {"head": {"kind": "pca-whitening", "dim": 8}},
    {"head": {"kind": "discriminant", "dim": 3}},
]


@pytest.fixture(scope="module")
def photos(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    test = world.manifest.split("test")
    return copy_photos(world.folder, tmp_path_factory.mktemp("why"), test)


def images(folder: Path, count: int) -> list[Image.Image]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [Image.open(file).convert("RGB") for file in files[:count]]


@pytest.mark.slow
@pytest.mark.parametrize("config", HEADS, ids=lambda config: config["head"]["kind"])
def test_the_parts_of_an_average_pooled_backbone_add_up_to_the_similarity(world: World, photos: Path, config: dict):
    embedder = load(world.run(backbone="mobilenetv1", **config).path, weights=world.weights, device="cpu")
    first, second = images(photos, 2)
    a, b = embedder.encode([first, second]).astype(np.float64)
    for image, own, other in ((first, a, b), (second, b, a)):
        found = contributions(embedder, image, other)
        assert found.exact
        assert found.values.shape == (7, 7)
        cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
        assert found.values.sum(dtype=np.float64) + found.rest == pytest.approx(cosine, abs=1e-5)


def encoder_of(model: str, px: int, **options):
    row = BackboneRow(library="timm", model=model, px=px, **MEAN, **options)
    torch.manual_seed(3)
    return restore_encoder(row, build(row, None).state_dict(), Path("random"), CPU)


@pytest.mark.parametrize(
    ("model", "px", "side", "options"),
    [
        ("resnet10t", 64, 2, {}),
        ("mobilenetv3_small_050", 64, 2, {}),
        ("test_vit", 160, 10, {}),
        ("test_vit", 160, 10, {"options": {"global_pool": "avg"}}),
        ("test_vit", 160, 10, {"options": {"global_pool": "map", "class_token": False}}),
    ],
)
def test_a_position_is_what_the_pooling_makes_of_it_alone(model: str, px: int, side: int, options: dict):
    encoder = encoder_of(model, px, **options)
    generator = np.random.default_rng(0)
    pixels = torch.from_numpy(generator.integers(0, 256, (1, px, px, 3), dtype=np.uint8))
    found = positions(encoder, pixels)
    assert found is not None
    assert found.shape == (side, side, encoder.dim)
    changed = pixels.clone()
    changed[:, : px // 4, : px // 4] = 255 - changed[:, : px // 4, : px // 4]
    moved = (positions(encoder, changed) - found).norm(dim=2)  # pyright: ignore[reportOptionalOperand]
    assert moved.argmax() in [row * side + column for row in range(side // 2) for column in range(side // 2)]
    if model == "resnet10t":
        torch.testing.assert_close(found.mean(dim=(0, 1)), encoder(pixels)[0], rtol=1e-4, atol=1e-5)


VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 80, "patch_size": 8}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_vision_model": ("pooled", VIT | {"intermediate_size": 64}),
    "siglip_vision_model": ("pooled", VIT | {"intermediate_size": 64}),
    "dinov2": ("pooled", VIT),
    "vit": ("cls", VIT | {"intermediate_size": 64}),
    "ijepa": ("mean", VIT | {"intermediate_size": 64}),
    "convnext": ("pooled", {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "patch_size": 1}),
    "resnet": ("pooled", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
}
OPEN_CLIP = {
    "vit": {"image_size": 80, "layers": 2, "width": 32, "patch_size": 8, "head_width": 8},
    "averaged": {
        **{"image_size": 80, "layers": 2, "width": 32, "patch_size": 8, "head_width": 8},
        **{"no_ln_pre": True, "pool_type": "avg"},
    },
    "convnext": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 80},
}


def random_encoder(row: BackboneRow) -> Encoder:
    """As large weights as let images differ."""
    torch.manual_seed(3)
    module = adapter(row.library).build(row, None).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return ModuleEncoder(module, row, CPU, Precision.fp32)


def require_positions(encoder: Encoder, px: int, averaged: bool) -> None:
    """What is changed in the first quarter changes the positions there most; their mean is the feature, if averaged."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, px, px, 3), dtype=np.uint8))
    found = positions(encoder, pixels)
    assert found is not None
    side = len(found)
    assert found.shape == (side, side, encoder.dim)
    changed = pixels.clone()
    changed[:, : px // 4, : px // 4] = 255 - changed[:, : px // 4, : px // 4]
    moved = (positions(encoder, changed) - found).norm(dim=2)  # pyright: ignore[reportOptionalOperand]
    assert int(moved.argmax()) in [row * side + column for row in range(side // 2) for column in range(side // 2)]
    feature = encoder(pixels)[0]
    assert ((found.mean(dim=(0, 1)) - feature).norm() < 1e-4 * feature.norm()) == averaged


@pytest.mark.slow
@pytest.mark.parametrize("model", TRANSFORMERS)
def test_positions_of_transformers_go_through_the_models_own_pooling(model: str):
    feature, options = TRANSFORMERS[model]
    named = {"library": "transformers", "model": model, "feature": feature, "px": 80, "weights": "own"}
    row = BackboneRow.model_validate(named | MEAN | {"options": {"model_type": model, **options}})
    require_positions(random_encoder(row), 80, averaged=model in ("ijepa", "resnet"))


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["pre-projection", "projected"])
@pytest.mark.parametrize("model", OPEN_CLIP)
def test_positions_of_open_clip_are_in_the_space_of_its_feature(model: str, feature: str, tmp_path: Path):
    import open_clip

    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 24, "vision_cfg": OPEN_CLIP[model], "text_cfg": text}
    (tmp_path / f"small-{model}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"small-{model}.json")
    named = {"library": "open_clip", "model": f"small-{model}", "feature": feature, "px": 80, "weights": "own"}
    encoder = random_encoder(BackboneRow.model_validate(named | MEAN))
    if model == "convnext" and feature == "projected":
        assert positions(encoder, torch.zeros(1, 80, 80, 3, dtype=torch.uint8)) is None  # its projection is apart
    else:
        require_positions(encoder, 80, averaged=model == "averaged")


def test_what_the_backbone_sees_is_told_as_shares_of_the_image():
    squash = encoder_of("resnet10t", 64, resize="squash").prepare
    crop = encoder_of("resnet10t", 64, resize="shortest+crop", crop_pct=0.5).prepare
    assert squash.seen((300, 100)) == (0, 0, 1, 1)  # pyright: ignore[reportFunctionMemberAccess]
    assert crop.seen((400, 200)) == (0.375, 0.25, 0.25, 0.5)  # pyright: ignore[reportFunctionMemberAccess]


@pytest.fixture
def client(run: RunDirectory, world: World, photos: Path, tmp_path: Path) -> Iterator[TestClient]:
    index = Index.create(tmp_path / "index", run.path, weights=world.weights, device="cpu")
    index.add(photos)
    with TestClient(create_app(index, Limits()), base_url="http://localhost") as client:
        yield client


@pytest.mark.slow
def test_the_application_tells_why_of_rows_and_of_uploads(client: TestClient, photos: Path):
    first, second = (row["id"] for row in client.get("/api/rows?count=2").json()["rows"])
    by_row = client.get("/api/why", params={"id": first, "hit": second})
    assert by_row.status_code == 200, by_row.text
    why = by_row.json()
    assert why["query"]["exact"]
    similarity = client.get(
        "/api/search", params={"id": first, "where": f"id = '{second.replace(chr(39), chr(39) * 2)}'"}
    )
    expected = similarity.json()["hits"][0]["similarity"]
    for image in ("query", "hit"):
        assert np.sum(why[image]["values"]) + why[image]["rest"] == pytest.approx(expected, abs=1e-5)
    file = photos.parent / first
    assert client.post("/api/why", params={"hit": second}, content=file.read_bytes()).json() == why
    part = client.post("/api/why", params={"hit": second, "box": "0,0,40,40"}, content=file.read_bytes()).json()
    assert part["query"] != why["query"]


@pytest.mark.slow
def test_a_backbone_that_cannot_tell_says_so_in_a_sentence(described: Path):
    index = Index.open(described, device="cpu")
    first, second = index.frame["id"][:2]
    with TestClient(create_app(index, Limits()), base_url="http://localhost") as client:
        answer = client.get("/api/why", params={"id": first, "hit": second})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(
        "why it matches cannot be told: the backbone 'descriptor' gives no features"
    )
    with pytest.raises(UsageError):
        contributions(index.embedder, index.image(first), index.vectors([second])[0])
