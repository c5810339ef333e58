import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from feature_cache import FeatureStore
from probe import Embedder, load
from probe.embed.images import list_images
from probe.errors import ProbeError, UsageError
from probe.runs import RunDirectory
from tests.embed.conftest import World

CPU = torch.device("cpu")
ROUNDING = 2e-3  # of float16 features, in embeddings of unit length


@pytest.fixture(scope="module")
def embedder(run: RunDirectory) -> Embedder:
    return load(run.path, device="cpu")


@pytest.fixture(scope="module")
def files(world: World) -> list[Path]:
    return [world.folder / image for image in world.manifest.split("test")["image"]]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_an_image_gives_what_its_stored_features_give_by_the_head(
    embedder: Embedder, run: RunDirectory, world: World, files: list[Path]
):
    stored = FeatureStore(world.workspace.store("pocket", "mobilenetv1"))
    features = torch.from_numpy(stored.load(world.manifest.split("test")["image"].to_list())).float()
    with torch.inference_mode():
        expected = unit(run.head(CPU)(features).numpy())
    found = embedder.encode(files, batch_size=5)
    assert found.dtype == np.float32
    assert found.shape == (len(files), embedder.dim) == (len(files), 16)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("append", [(), ("width", "aspect")], ids=["fused", "with sizes"])
def test_fused_backbones_and_sizes_are_those_of_the_fit(world: World, files: list[Path], append: tuple[str, ...]):
    run = world.run(
        backbone=["mobilenetv1", "descriptor"], append=append, head={"kind": "random-projection", "dim": 32}
    )
    parts = []
    for name in ("mobilenetv1", "descriptor"):
        store = FeatureStore(world.workspace.store("pocket", name))
        parts.append(unit(store.load(world.manifest.split("test")["image"].to_list()).astype(np.float64)))
    joined = np.concatenate(parts, axis=1)
    if append:
        sizes = np.array([Image.open(file).size for file in files], np.float64)
        width, aspect = np.log(sizes[:, 0] / 512), (sizes[:, 0] - sizes[:, 1]) / sizes.sum(axis=1)
        joined = np.concatenate([joined, np.sqrt(2 / joined.shape[1]) * np.stack([width, aspect], axis=1)], axis=1)
    with torch.inference_mode():
        expected = unit(run.head(CPU)(torch.from_numpy(joined).float()).numpy())
    np.testing.assert_allclose(load(run.path, device="cpu").encode(files), expected, atol=ROUNDING)


def test_whatever_an_image_comes_in_its_embedding_is_the_same(embedder: Embedder, files: list[Path]):
    decoded = Image.open(files[0]).convert("RGB")
    inputs: list[Any] = [files[0], str(files[0]), Image.open(files[0]), decoded, np.asarray(decoded)]
    found = embedder.encode(inputs)
    np.testing.assert_allclose(found, np.repeat(found[:1], len(inputs), axis=0), atol=1e-6)
    np.testing.assert_allclose(embedder.encode(files[0]), found[:1], atol=1e-6)
    assert embedder.encode(np.asarray(decoded)).shape == (1, 16)


def test_a_folder_stands_for_its_images_sorted_by_path_among_other_inputs(
    embedder: Embedder, files: list[Path], tmp_path: Path
):
    for name, file in {"b/1.jpg": files[0], "a.jpg": files[1]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    mixed = [files[2], tmp_path, Image.open(files[3])]
    assert [image.name for image in list_images(mixed)][1:3] == [str(tmp_path / "a.jpg"), str(tmp_path / "b/1.jpg")]
    expected = embedder.encode([files[2], files[1], files[0], files[3]])
    np.testing.assert_allclose(embedder.encode(mixed), expected, atol=1e-6)


def test_no_image_is_left_out_in_silence(embedder: Embedder, files: list[Path], tmp_path: Path):
    (tmp_path / "torn.jpg").write_bytes(files[0].read_bytes()[:200])
    with pytest.raises(ProbeError, match=r"torn\.jpg cannot be read as an image"):
        embedder.encode([files[0], tmp_path])
    for wrong, said in (
        (tmp_path / "gone.jpg", "there is no image .*gone.jpg"),
        (np.zeros((4, 4, 3), np.float32), r"image 1 is an array of \(4, 4, 3\) float32"),
        (3, "image 1 is of type int"),
        (None, "image 1 is of type NoneType"),
    ):
        with pytest.raises(UsageError, match=said):
            embedder.encode([files[0], wrong])  # pyright: ignore[reportArgumentType]
    assert embedder.encode([]).shape == (0, 16)


def test_what_it_makes_depends_on_the_precision_too(run: RunDirectory):
    assert load(run, device="cpu").key == load(run.path, device="cpu", precision="fp32").key == run.key
    assert load(run, device="cpu", precision="bf16").key == f"{run.key}-bf16"


def test_wrong_arguments_are_one_sentence(embedder: Embedder, run: RunDirectory, files: list[Path], tmp_path: Path):
    with pytest.raises(UsageError, match="image 0 is of type NoneType; images are paths"):
        embedder.encode(None)  # pyright: ignore[reportArgumentType]
    for size in (0, "x", 2.5):
        with pytest.raises(UsageError, match=f"batch_size is {size!r}; a batch has one image at least"):
            embedder.encode(files, batch_size=size)  # pyright: ignore[reportArgumentType]
    for empty in (np.zeros((0, 64, 3), np.uint8), Image.new("RGB", (0, 5))):
        with pytest.raises(ProbeError, match=r"cannot be read as an image \(it has no pixels\)"):
            embedder.encode(empty)
    with pytest.raises(UsageError, match=r"config\.yaml is a file; name the folder that it lies in"):
        load(run.path / "config.yaml")
    with pytest.raises(UsageError, match="5 is of type int; name a run's folder"):
        load(5)  # pyright: ignore[reportArgumentType]
    for a, b in (((1, 16), (2, 15)), ((1, 15), (2, 15)), ((1, 1, 16), (2, 16))):
        with pytest.raises(UsageError, match=r"embeddings are \(n, 16\)"):
            embedder.similarity(np.ones(a, np.float32), np.ones(b, np.float32))
    with pytest.raises(UsageError, match="there is no precision 'fp8'; known: auto, bf16, fp16, fp32"):
        load(run.path, precision="fp8")
    gone = [tmp_path / f"{i}.jpg" for i in range(7)]
    with pytest.raises(UsageError, match=r"7 of the images that are named are not there: .*4\.jpg, …; leave them out"):
        embedder.encode([*files, *gone])


def test_it_encodes_in_a_thread_that_is_not_the_main_one(embedder: Embedder, files: list[Path]):
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(embedder.encode(files[:2], show_progress=True)))
    thread.start()
    thread.join()
    np.testing.assert_allclose(found[0], embedder.encode(files[:2]), atol=1e-6)


def test_similarity_is_the_cosine_of_any_vectors(embedder: Embedder):
    a, b = np.random.default_rng(0).normal(size=(2, 3, 16))
    np.testing.assert_allclose(embedder.similarity(a, b), unit(a) @ unit(b).T, atol=1e-6)
    assert embedder.similarity(a[0], b).shape == (1, 3)


def test_by_euclidean_distance_lengths_are_kept_and_nearer_is_more_similar(world: World, files: list[Path]):
    run = world.run(backbone="descriptor", head={"kind": "random-projection", "dim": 8}, distance="euclidean")
    embedder = load(run.path, device="cpu")
    found = embedder.encode(files[:3])
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)
    expected = -np.linalg.norm(found[:, None] - found[None], axis=2)
    np.testing.assert_allclose(embedder.similarity(found, found), expected, atol=1e-3)
