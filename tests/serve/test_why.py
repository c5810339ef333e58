"""Why a hit matched: each position's share of the similarity, against the similarity itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from probe import Index
from probe.backbones import BackboneRow, positions, restore_encoder
from probe.backbones.timm import build
from probe.embed import contributions, load
from probe.errors import UsageError
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
