from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_cache import Failure, Rows, Spec, StoreError, StoreWriter
from probe.data.images import content_digest
from probe.data.manifest import COLUMNS, Manifest
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.extract.stores import MissingFeaturesError
from probe.workspace import Workspace
from tests.conftest import examples

DIM = 3
ASKED = {"backbone": {"model": "tiny"}, "preprocessing": {"px": 32}}
SPEC = ASKED | {"dtype": "float16", "packages": {"pillow": "11.0"}}
NAMES = ["b/2.jpg", "a/1.jpg", "c/é 🦊.jpg", "a/3.jpg", "b/1.jpg", "a/2.jpg"]


def feature(source: str, image: str) -> np.ndarray:
    """A row that depends on nothing but the source and the id."""
    rng = np.random.default_rng([ord(character) for character in source + image])
    return rng.normal(size=DIM).astype(np.float16)


def store(workspace: Workspace, source: str, ids: list[str], failed: tuple[str, ...] = (), spec: Any = SPEC) -> Path:
    path = workspace.store(source, "tiny")
    features = np.array([feature(source, image) for image in ids]).reshape(-1, DIM)
    with StoreWriter(path, spec) as writer:
        writer.add(Rows(ids, features, np.ones((len(ids), 2))), [Failure(image, "OSError: empty") for image in failed])
        writer.finish()
    return path


def rows(*entries: tuple[str, str, str]) -> Manifest:
    """A manifest of (source, image, split)."""
    cells = [
        (i, s, f"label {i[0]}", "domain", split, "train" if split == "train" else "both") for s, i, split in entries
    ]
    return Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), where="rows.csv")


def cached(manifest: Manifest, asked: Spec, workspace: Workspace) -> CachedFeatures:
    return CachedFeatures(manifest, Selection(backbone="tiny"), {"tiny": asked}, workspace)


def test_an_option_that_was_not_asked_for_is_a_difference(workspace: Workspace) -> None:
    options = {"pad_type": "same", "global_pool": "max"}
    store(workspace, "pets", ["a/1.jpg"], spec=SPEC | {"backbone": {"model": "tiny", "options": options}})
    asked = {"backbone": {"model": "tiny", "options": {"pad_type": "same"}}}
    with pytest.raises(UsageError, match=r'backbone\.options\.global_pool: "max", not null'):
        cached(rows(("pets", "a/1.jpg", "test")), asked, workspace)


def test_a_result_depends_on_the_content_of_its_images_and_of_no_others(workspace: Workspace) -> None:
    manifest = rows(("pets", "a/1.jpg", "test"), ("pets", "b/1.jpg", "test"))

    def identity(*digests: int) -> dict[str, str]:
        workspace.store("pets", "tiny").unlink(missing_ok=True)
        with StoreWriter(workspace.store("pets", "tiny"), SPEC) as writer:
            ids = ["c/1.jpg", "b/1.jpg", "a/1.jpg"]
            writer.add(Rows(ids, np.ones((3, DIM)), np.ones((3, 2)), np.array(digests, np.uint64)))
            writer.finish()
        return cached(manifest, ASKED, workspace).identity

    assert identity(1, 2, 3) == identity(9, 2, 3)
    assert identity(1, 2, 3) != identity(1, 9, 3)
    assert identity(1, 2, 3) != identity(1, 3, 2)


def test_features_of_another_folder_of_the_same_name_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    for user in ("ann", "bob"):
        (tmp_path / user / "a").mkdir(parents=True)
        (tmp_path / user / "a" / "1.jpg").write_bytes(f"a photo of {user}'s".encode())
    digest = np.array([content_digest((tmp_path / "ann" / "a" / "1.jpg").read_bytes())], np.uint64)
    with StoreWriter(workspace.store("pets", "tiny"), SPEC) as writer:
        writer.add(Rows(["a/1.jpg"], np.ones((1, DIM)), np.ones((1, 2)), digest))
        writer.finish()
    frame = rows(("pets", "a/1.jpg", "test")).frame
    assert cached(Manifest(frame, {"pets": tmp_path / "ann"}), ASKED, workspace).split("test")
    with pytest.raises(UsageError, match=r"was made from other images than those in .*bob: a/1\.jpg differs"):
        cached(Manifest(frame, {"pets": tmp_path / "bob"}), ASKED, workspace)


@examples(15, 200)
@given(
    entries=st.lists(
        st.tuples(st.sampled_from(["pets", "zoo"]), st.sampled_from(NAMES), st.sampled_from(["train", "val", "test"])),
        min_size=1,
        unique=True,
    )
)
def test_every_row_gets_the_feature_of_its_own_source_and_image(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str, str]]
) -> None:
    """Manifests in any order over several sources; the stores hold the images in other orders, and more of them."""
    workspace = Workspace(*(tmp_path_factory.getbasetemp() / name for name in ("data", "join", "out")))
    if not workspace.cache.exists():
        store(workspace, "pets", NAMES)
        store(workspace, "zoo", NAMES[::-1])
    features = cached(rows(*entries), ASKED, workspace)
    for split in {entry[2] for entry in entries}:
        joined = features.split(split)
        expected = [entry for entry in entries if entry[2] == split]
        assert joined.frame.select("source", "image", "split").rows() == expected
        np.testing.assert_array_equal(joined.features, [feature(source, image) for source, image, _ in expected])


def test_missing_images_raise_with_their_count_and_the_first_five(workspace: Workspace) -> None:
    path = store(workspace, "pets", NAMES[:1])
    manifest = rows(*(("pets", f"x/{i}.jpg", "test") for i in range(7)), ("pets", NAMES[0], "test"))
    with pytest.raises(MissingFeaturesError) as caught:
        cached(manifest, ASKED, workspace)
    first = ", ".join(f"x/{i}.jpg" for i in range(5))
    assert str(caught.value) == f"{path} lacks 7 images of rows.csv: {first}."


def test_an_image_of_the_same_name_in_another_source_does_not_stand_in(workspace: Workspace) -> None:
    store(workspace, "pets", NAMES)
    store(workspace, "zoo", NAMES[1:])
    manifest = rows(("pets", NAMES[0], "test"), ("zoo", NAMES[0], "test"), ("zoo", NAMES[1], "test"))
    with pytest.raises(MissingFeaturesError, match=r"zoo/tiny\.h5 lacks 1 images"):
        cached(manifest, ASKED, workspace)


def test_an_absent_store_is_named(workspace: Workspace) -> None:
    with pytest.raises(MissingFeaturesError, match=r"no features of 'tiny' for pets \(no .*pets/tiny\.h5\)"):
        cached(rows(("pets", NAMES[0], "test")), ASKED, workspace)


def test_images_that_could_not_be_decoded_are_left_out_and_told(workspace: Workspace) -> None:
    store(workspace, "pets", NAMES[1:], failed=(NAMES[0], "not/in the manifest.jpg"))
    store(workspace, "zoo", NAMES)
    manifest = rows(*((source, image, "test") for image in NAMES for source in ("zoo", "pets")))
    features = cached(manifest, ASKED, workspace)
    assert features.left_out.select("source", "image").rows() == [("pets", NAMES[0])]
    joined = features.split("test")
    assert len(joined.frame) == len(joined.features) == 11
    expected = [feature(source, image) for source, image in joined.frame.select("source", "image").iter_rows()]
    np.testing.assert_array_equal(joined.features, expected)


@pytest.mark.parametrize("failed", [(), (NAMES[0],)], ids=["no row", "no decoded row"])
def test_a_split_without_usable_rows_is_refused(workspace: Workspace, failed: tuple[str, ...]) -> None:
    store(workspace, "pets", NAMES[1:], failed=failed)
    entries = [("pets", NAMES[1], "train")] + [("pets", image, "test") for image in failed]
    with pytest.raises(UsageError, match=r"rows\.csv has no usable rows in its split 'test'"):
        cached(rows(*entries), ASKED, workspace).split("test")


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"preprocessing": {"px": 64}}, "preprocessing.px: 32, not 64"),
        ({"backbone": {"model": "tiny", "weights_sha256": "ff"}}, 'backbone.weights_sha256: null, not "ff"'),
        ({"dtype": "float32"}, 'dtype: "float16", not "float32"'),
    ],
    ids=["changed", "absent", "more"],
)
def test_features_of_another_spec_are_refused_with_the_key(workspace: Workspace, asked: dict, what: str) -> None:
    path = store(workspace, "pets", NAMES)
    with pytest.raises(UsageError) as caught:
        cached(rows(("pets", NAMES[0], "test")), ASKED | asked, workspace)
    assert f"{path} holds other features than the ones asked for ({what}); " in str(caught.value)


def test_sources_extracted_with_different_weights_are_not_mixed(workspace: Workspace) -> None:
    store(workspace, "pets", NAMES)
    store(workspace, "zoo", NAMES, spec=SPEC | {"backbone": {"model": "tiny", "weights_sha256": "ff"}})
    manifest = rows(("pets", NAMES[0], "test"), ("zoo", NAMES[0], "test"))
    with pytest.raises(UsageError, match=r"do not hold the same backbone's features \(backbone\.weights_sha256: "):
        cached(manifest, ASKED, workspace)


def test_sources_extracted_with_other_package_versions_may_be_used_together(workspace: Workspace) -> None:
    store(workspace, "pets", NAMES)
    store(workspace, "zoo", NAMES, spec=SPEC | {"packages": {"pillow": "12.0"}})
    manifest = rows(("pets", NAMES[0], "test"), ("zoo", NAMES[0], "test"))
    assert len(cached(manifest, ASKED, workspace).split("test").features) == 2


def test_the_identity_changes_with_the_rows_the_features_and_what_is_left_out(workspace: Workspace) -> None:
    manifest = rows(*(("pets", image, "test") for image in NAMES[:3]))

    def identity(cache: str, manifest: Manifest = manifest, **stored) -> dict[str, str]:
        elsewhere = replace(workspace, cache=workspace.cache / cache)
        if not elsewhere.cache.exists():
            store(elsewhere, "pets", **stored)
        return cached(manifest, ASKED, elsewhere).identity

    plain = identity("plain", ids=NAMES)
    assert identity("other order and more", ids=[*NAMES[::-1], "more.jpg"]) == plain
    assert identity("plain", rows(("pets", NAMES[0], "test"))) != plain
    assert identity("spec", ids=NAMES, spec=SPEC | {"dtype": "float32"}) != plain
    assert identity("failed", ids=NAMES[1:], failed=(NAMES[0],)) != plain


def test_a_flipped_byte_in_the_features_is_an_error(workspace: Workspace) -> None:
    path = store(workspace, "pets", NAMES)
    content = bytearray(path.read_bytes())
    content[content.index(feature("pets", NAMES[2]).tobytes())] ^= 4
    path.write_bytes(content)
    features = cached(rows(("pets", NAMES[0], "test")), ASKED, workspace)
    with pytest.raises(StoreError, match=r"pets/tiny\.h5 is damaged"):
        features.split("test")
