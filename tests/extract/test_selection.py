"""Fused backbones, two views and appended sizes: what a run reads is what an independent join by id gives."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from feature_cache import Failure, Rows, StoreWriter
from probe.data.manifest import COLUMNS, Manifest
from probe.errors import UsageError
from probe.extract import stores
from probe.extract.features import CachedFeatures, size_columns
from probe.extract.selection import Selection
from probe.extract.stores import MissingFeaturesError
from probe.workspace import Workspace
from tests.conftest import examples, quick

DIMS = {"one": 3, "two": 5, "siglip@train": 4, "siglip@test": 4}
IMAGES = ["b/2.jpg", "a/1.jpg", "c/é 🦊.jpg", "a/3.jpg", "b/1.jpg", "a/2.jpg"]
SPLITS = ["train", "val", "test"]


def spec(name: str) -> dict[str, Any]:
    model, _, view = name.partition("@")
    return {"backbone": {"model": model}, "preprocessing": {"resize": view or "crop"}, "dtype": "float16"}


def feature(name: str, source: str, image: str) -> np.ndarray:
    """A row that depends on nothing but the backbone, the source and the id."""
    rng = np.random.default_rng([ord(character) for character in f"{name}/{source}/{image}"])
    return (rng.normal(size=DIMS.get(name, 4)) * 7).astype(np.float16)


def size(source: str, image: str) -> tuple[int, int]:
    rng = np.random.default_rng([ord(character) for character in f"size {source}/{image}"])
    return tuple(rng.integers(1, 5000, 2).tolist())


def store(
    workspace: Workspace,
    name: str,
    ids: list[str] = IMAGES,
    source: str = "pets",
    failed: tuple[str, ...] = (),
    dtype: str = "float16",
    sized: bool = True,
    made_by: dict[str, Any] | None = None,
) -> Path:
    path = workspace.store(source, name)
    features = np.array([feature(name, source, image) for image in ids]).reshape(len(ids), -1)
    sizes = np.array([size(source, image) if sized else (0, 0) for image in ids]).reshape(-1, 2)
    with StoreWriter(path, made_by or spec(name), dtype=dtype) as writer:
        writer.add(Rows(ids, features, sizes), [Failure(image, "OSError: empty") for image in failed])
        writer.finish()
    return path


def manifest(*entries: tuple[str, str, str]) -> Manifest:
    """Of (source, image, split)."""
    cells = [
        (i, s, f"label {i[0]}", "domain", split, "train" if split == "train" else "both") for s, i, split in entries
    ]
    return Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), where="rows.csv")


def pets(split: str = "test", images: list[str] = IMAGES) -> Manifest:
    return manifest(*(("pets", image, split) for image in images))


def cached(rows: Manifest, workspace: Workspace, splits: list[str] = SPLITS, **choice: Any) -> CachedFeatures:
    selection = Selection(**choice)
    asked = {name: spec(name) for split in SPLITS for name in selection.stores(split)}
    return CachedFeatures(rows, selection, asked, workspace, splits)


def fused(names: list[str], source: str, image: str) -> np.ndarray:
    """Each backbone's feature at length 1, side by side, in float64."""
    parts = [feature(name, source, image).astype(np.float64) for name in names]
    return np.concatenate([part / np.sqrt(sum(part**2)) for part in parts])


def close(found: np.ndarray, expected: list[np.ndarray]) -> None:
    """To the rounding of float16."""
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=2**-10, atol=1e-6)


@examples(3, 15)
@given(data=st.data())
def test_rows_are_fused_by_source_and_image_whatever_the_order_of_manifest_and_stores(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Some images failed in some stores: their rows are left out of all, and told once."""
    folder = tmp_path_factory.mktemp("fused")
    workspace = Workspace(*(folder / name for name in ("data", "cache", "out")))
    bad: set[tuple[str, str]] = set()
    for name in ("one", "two"):
        for source in ("pets", "zoo"):
            order = data.draw(st.permutations(IMAGES))
            failed = data.draw(st.sets(st.sampled_from(IMAGES), max_size=2))
            bad |= {(source, image) for image in failed}
            store(workspace, name, [i for i in order if i not in failed], source, tuple(failed))
    entry = st.tuples(st.sampled_from(["pets", "zoo"]), st.sampled_from(IMAGES), st.sampled_from(SPLITS))
    entries = data.draw(st.lists(entry, min_size=1, unique=True))
    names = data.draw(st.permutations(["one", "two"]))
    features = cached(manifest(*entries), workspace, backbone=names)
    assert features.left_out.select("source", "image", "split").rows() == [e for e in entries if e[:2] in bad]
    for split in {split for source, image, split in entries if (source, image) not in bad}:
        expected = [entry for entry in entries if entry[2] == split and entry[:2] not in bad]
        joined = features.split(split)
        assert joined.frame.select("source", "image", "split").rows() == expected
        assert joined.features.dtype == np.float16
        close(joined.features, [fused(names, source, image) for source, image, _ in expected])


def test_a_single_backbones_features_are_taken_as_they_are_stored(workspace: Workspace) -> None:
    store(workspace, "one")
    expected = [feature("one", "pets", image) for image in IMAGES]
    for backbone in ("one", ["one"]):
        np.testing.assert_array_equal(cached(pets(), workspace, backbone=backbone).split("test").features, expected)


def test_float32_in_one_store_makes_the_fused_features_float32(workspace: Workspace) -> None:
    store(workspace, "one")
    store(workspace, "two", dtype="float32")
    features = cached(pets(), workspace, backbone=["one", "two"])
    assert features.split("test").features.dtype == np.float32
    assert (features.dim, features.row_bytes) == (8, 32)


@pytest.mark.parametrize("rows", [1, 4, 5, 6, 7])
def test_reading_block_by_block_gives_what_reading_at_once_gives(
    workspace: Workspace, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(workspace, "one")
    store(workspace, "two", IMAGES[::-1])
    whole = cached(pets(), workspace, backbone=["one", "two"], append=["width"]).split("test").features
    monkeypatch.setattr(stores, "BLOCK_ROWS", rows)
    blockwise = cached(pets(), workspace, backbone=["one", "two"], append=["width"]).split("test").features
    np.testing.assert_array_equal(blockwise, whole)


@pytest.mark.slow
def test_fusing_takes_little_memory_beside_the_result(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{i}.jpg" for i in range(20_000)]
    for name in ("one", "two"):
        with StoreWriter(workspace.store("pets", name), spec(name)) as writer:
            writer.add(Rows(ids, np.ones((len(ids), 256), np.float16), np.ones((len(ids), 2))))
            writer.finish()
    features = cached(pets(images=ids), workspace, backbone=["one", "two"])
    frame = features.frame("test")
    monkeypatch.setattr(stores, "BLOCK_ROWS", 1000)
    tracemalloc.start()
    result = features.load(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.nbytes == 20_000 * 512 * 2
    assert peak < 1.5 * result.nbytes


def test_a_missing_image_is_named_with_the_store_that_lacks_it(workspace: Workspace) -> None:
    store(workspace, "one")
    path = store(workspace, "two", IMAGES[1:])
    with pytest.raises(MissingFeaturesError) as caught:
        cached(pets(), workspace, backbone=["one", "two"])
    assert str(caught.value) == f"{path} lacks 1 images of rows.csv: {IMAGES[0]}."
    assert list(caught.value.missing) == ["two"]


def test_all_backbones_that_are_missing_are_named_at_once(workspace: Workspace) -> None:
    with pytest.raises(MissingFeaturesError) as caught:
        cached(pets(), workspace, backbone=["one", "two"])
    assert list(caught.value.missing) == ["one", "two"]
    assert "no features of 'one' for pets" in str(caught.value)
    assert "no features of 'two' for pets" in str(caught.value)


def test_features_are_not_called_missing_that_are_left_out_of_the_splits_asked_for(workspace: Workspace) -> None:
    store(workspace, "one", IMAGES[:3])
    rows = manifest(*(("pets", image, "train" if image in IMAGES[3:] else "test") for image in IMAGES))
    assert len(cached(rows, workspace, ["test"], backbone="one").split("test").features) == 3
    with pytest.raises(MissingFeaturesError, match="lacks 3 images"):
        cached(rows, workspace, backbone="one")


def test_the_identity_names_every_store_and_changes_with_each(workspace: Workspace) -> None:
    store(workspace, "one")
    path = store(workspace, "two")

    def identity(**choice: Any) -> dict[str, str]:
        return cached(pets(), workspace, **choice).identity

    both = identity(backbone=["one", "two"])
    assert "one/pets:" in both["features"]
    assert "two/pets:" in both["features"]
    path.unlink()
    store(workspace, "two", made_by=spec("two") | {"precision": "bfloat16"})
    assert identity(backbone=["one", "two"]) != both
    path.unlink()
    store(workspace, "two", IMAGES[1:], failed=(IMAGES[0],))
    assert identity(backbone=["one", "two"])["images"] != both["images"]


def test_the_identity_changes_with_the_sizes_that_are_appended_and_with_no_others(workspace: Workspace) -> None:
    path = store(workspace, "one")
    before = [cached(pets(), workspace, backbone="one", append=columns).identity for columns in ([], ["width"])]
    path.unlink()
    with StoreWriter(path, spec("one")) as writer:
        features = np.array([feature("one", "pets", image) for image in IMAGES])
        writer.add(Rows(IMAGES, features, np.full((len(IMAGES), 2), 7)))
        writer.finish()
    after = [cached(pets(), workspace, backbone="one", append=columns).identity for columns in ([], ["width"])]
    assert after[0] == before[0]
    assert after[1] != before[1]


def by_hand(width: int, height: int) -> dict[str, float]:
    return {
        "width": np.log2(width / 512) * np.log(2),
        "height": np.log2(height / 512) * np.log(2),
        "aspect": np.tanh(0.5 * (np.log(width) - np.log(height))),
    }


@pytest.mark.parametrize("append", quick([["width", "height", "aspect"], ["aspect"], ["height", "width"]]))
@pytest.mark.parametrize("names", [["one"], ["one", "two"], ["two", "one"]], ids="+".join)
def test_sizes_follow_the_normalised_features_each_as_large_as_a_usual_channel(
    workspace: Workspace, names: list[str], append: list[str]
) -> None:
    for name in names:
        store(workspace, name)
    joined = cached(pets(), workspace, backbone=names, append=append).split("test")
    expected = []
    for image in joined.frame["image"]:
        row = fused(names, "pets", image)
        usual = np.sqrt((row**2).mean())
        sizes = by_hand(*size("pets", image))
        expected.append(np.concatenate([row, [usual * sizes[column] for column in append]]))
    close(joined.features, expected)


def test_a_size_is_finite_and_of_order_one_from_one_pixel_to_65535() -> None:
    sides = np.array([1, 100, 512, 5000, 65535])
    sizes = np.stack(np.meshgrid(sides, sides), axis=-1).reshape(-1, 2)
    columns = size_columns(sizes, ["width", "height", "aspect"])
    assert np.abs(columns).max() < 7
    assert np.abs(columns[:, 2]).max() < 1
    assert np.linalg.matrix_rank(columns) == 3, "the aspect ratio is no linear function of the other two"


def test_sizes_that_one_store_does_not_know_come_from_another(workspace: Workspace) -> None:
    store(workspace, "one", sized=False)
    store(workspace, "two")
    features = cached(pets(), workspace, backbone=["one", "two"], append=["width"]).split("test").features
    logs = np.array([np.log(size("pets", image)[0] / 512) for image in IMAGES]) * np.sqrt(2 / 8)
    np.testing.assert_allclose(features[:, -1], logs, rtol=2**-10)


def test_sizes_that_no_store_knows_are_a_clear_error(workspace: Workspace) -> None:
    path = store(workspace, "one", sized=False)
    with pytest.raises(UsageError) as caught:
        cached(pets(), workspace, backbone="one", append=["aspect"])
    assert str(caught.value) == (
        f"{path} does not know the size of 6 images ({', '.join(sorted(IMAGES)[:5])}); imported features have none: "
        "extract them here, or leave out `append`."
    )
    assert cached(pets(), workspace, backbone="one").split("test")


def views(workspace: Workspace, **test: Any) -> Manifest:
    """Train images in the one view, the others in the other; nothing in both."""
    splits = ["train", "train", "val", "val", "test", "test"]
    store(workspace, "siglip@train", IMAGES[:2])
    store(workspace, "siglip@test", IMAGES[2:], **test)
    return manifest(*(("pets", image, split) for image, split in zip(IMAGES, splits, strict=True)))


def test_with_views_training_images_come_from_the_train_view_and_the_others_from_the_test_view(
    workspace: Workspace,
) -> None:
    features = cached(views(workspace), workspace, backbone="siglip", views=True)
    for split, name, images in (
        ("train", "siglip@train", IMAGES[:2]),
        ("val", "siglip@test", IMAGES[2:4]),
        ("test", "siglip@test", IMAGES[4:]),
    ):
        expected = [feature(name, "pets", image) for image in images]
        np.testing.assert_array_equal(features.split(split).features, expected)
    assert features.dim == 4
    assert list(features.spec) == ["siglip@test", "siglip@train"]


def test_the_view_that_is_searched_may_be_that_of_the_inference_model(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DIMS, "siglip@inference", 4)
    rows = views(workspace)
    store(workspace, "siglip@inference", IMAGES[2:])
    features = cached(rows, workspace, backbone="siglip", views="inference")
    expected = [feature("siglip@inference", "pets", image) for image in IMAGES[4:]]
    np.testing.assert_array_equal(features.split("test").features, expected)
    assert list(features.spec) == ["siglip@inference", "siglip@train"]
    names = [Selection(backbone="siglip", views=kind).features_name for kind in (False, True, "inference")]
    assert names == ["siglip", "siglip@views", "siglip@inference"]


def test_with_views_sizes_come_from_the_view_that_holds_the_image(workspace: Workspace) -> None:
    features = cached(views(workspace), workspace, backbone="siglip", views=True, append=["width"])
    for split, images in (("train", IMAGES[:2]), ("test", IMAGES[4:])):
        logs = [np.log(size("pets", image)[0] / 512) / 2 for image in images]
        np.testing.assert_allclose(features.split(split).features[:, -1], logs, rtol=2**-10)


def test_scoring_needs_the_test_view_only(workspace: Workspace) -> None:
    rows = views(workspace)
    workspace.store("pets", "siglip@train").unlink()
    assert len(cached(rows, workspace, ["test"], backbone="siglip", views=True).split("test").features) == 2
    with pytest.raises(MissingFeaturesError, match="no features of 'siglip@train'"):
        cached(rows, workspace, backbone="siglip", views=True)


@pytest.mark.parametrize(
    ("made_by", "says"),
    [
        ({"backbone": {"model": "siglip", "weights_sha256": "ff"}}, r'backbone\.weights_sha256: null, not "ff"'),
        ({"precision": "bfloat16"}, r'precision: null, not "bfloat16"'),
    ],
)
def test_views_of_different_weights_or_precision_are_refused(
    workspace: Workspace, made_by: dict[str, Any], says: str
) -> None:
    rows = views(workspace, made_by=spec("siglip@test") | made_by)
    with pytest.raises(UsageError, match=rf"siglip@test\.h5 are not two views of one backbone \({says}\)"):
        cached(rows, workspace, backbone="siglip", views=True)


def test_views_of_different_dimension_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIMS, "siglip@test", 6)
    rows = views(workspace)
    with pytest.raises(UsageError, match=r"are not two views of one backbone \(dimension: 4, not 6\)"):
        cached(rows, workspace, backbone="siglip", views=True)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"backbone": []}, "name a backbone, or several in a list"),
        ({"backbone": ""}, "name a backbone, or several in a list"),
        ({"backbone": 3}, "name a backbone, or several in a list"),
        ({"backbone": ["one", None]}, "name a backbone, or several in a list"),
        ({"backbone": ["one", "one"]}, "'one' is there twice"),
        ({"backbone": "one", "append": ["width", "width"]}, "'width' is there twice"),
        ({"backbone": "one", "append": ["hight"]}, "'width', 'height' or 'aspect'"),
        ({"backbone": ["one", "two@test"], "views": True}, "name 'two' alone"),
        ({"backbone": "one@inference", "views": True}, "name 'one' alone"),
        ({"backbone": "one", "views": "train"}, "'inference'"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(choice: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Selection(**choice)
