"""`probe embed`: files, folders, tars, patterns and lists of images into one file, whatever happens on the way."""

import io
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from feature_cache import FeatureStore
from probe import load
from probe.cli import app
from probe.embed import Collection, named_images
from probe.embed.embedder import Embedder
from probe.errors import ProbeError, UsageError
from probe.runs import RunDirectory
from tests.embed.conftest import World


@pytest.fixture(scope="module")
def descriptor_run(world: World) -> RunDirectory:
    return world.run(backbone="descriptor", head={"kind": "random-projection", "dim": 8})


@pytest.fixture
def photos(world: World, tmp_path: Path) -> Path:
    """A folder with four images, one of them in a tar, and a file that is none."""
    files = [world.folder / image for image in world.manifest.split("test")["image"][:4]]
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name, file in zip(("a.jpg", "b/1.jpg", "b/2.jpg"), files, strict=False):
        (folder / name).write_bytes(file.read_bytes())
    with tarfile.open(folder / "shard.tar", "w") as tar:
        tar.add(files[3], "x.jpg")
    (folder / "torn.jpg").write_bytes(files[0].read_bytes()[:200])
    return folder


def embed(*words: object, stdin: str = "", code: int = 0) -> str:
    done = CliRunner().invoke(app, ["embed", *map(str, words), "--device", "cpu"], input=stdin)
    assert done.exit_code == code, done.output
    return done.output


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_embedded(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path
):
    out, given = tmp_path / "v.h5", (descriptor_run.path, photos, "--out", tmp_path / "v.h5")
    embed(*given)
    mended = (photos / "b" / "1.jpg").read_bytes()
    (photos / "torn.jpg").write_bytes(mended)
    assert "4 of 5 images are embedded already" in embed(*given)
    store = FeatureStore(out)
    assert store.failed == []
    np.testing.assert_allclose(store["torn.jpg"], store["b/1.jpg"], atol=1e-6)
    (photos / "a.jpg").write_bytes(mended)
    said = " ".join(embed(*given, code=1).split())
    assert "1 of the images in" in said
    assert "have changed since they were embedded, a.jpg the first; delete it, or name another file." in said


def test_what_an_earlier_command_left_does_not_get_into_another_ones_answer(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path
):
    out = tmp_path / "v.npy"
    assert "none of 1 images" in embed(descriptor_run.path, photos / "torn.jpg", "--out", out, code=1)
    said = embed(descriptor_run.path, photos / "a.jpg", photos / "b", "--out", out)
    assert "torn" not in said
    assert np.load(out).shape == (3, 8)
    embed(descriptor_run.path, "-", "--out", tmp_path / "w.npy", code=2)
    assert not (tmp_path / ".w.npy.partial").exists()


@pytest.mark.slow
def test_each_kind_of_file_holds_the_same_ids_and_vectors(descriptor_run: RunDirectory, photos: Path, tmp_path: Path):
    outs = [tmp_path / name for name in ("v.npy", "v.parquet", "v.h5")]
    said = [embed(descriptor_run.path, photos, "--out", out) for out in outs]
    ids = (tmp_path / "v.ids.txt").read_text().splitlines()
    assert ids == ["a.jpg", "b/1.jpg", "b/2.jpg", "shard.tar/x.jpg"]
    vectors = np.load(outs[0])
    expected = load(descriptor_run.path, device="cpu").encode([photos / name for name in ids])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    table, store = pl.read_parquet(outs[1]), FeatureStore(outs[2])
    assert table["id"].to_list() == store.ids == ids
    np.testing.assert_array_equal(table["embedding"].to_numpy(), vectors)
    np.testing.assert_array_equal(store.load(), vectors)
    assert [failure.id for failure in store.failed] == ["torn.jpg"]
    assert not list(tmp_path.glob(".*partial"))
    assert all("1 could not be decoded" in each for each in said)


def test_files_patterns_tars_and_a_list_are_named_as_they_were_given(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos)
    (photos / "a\nb.jpg").write_bytes(b"")
    for listed, first in (("a.jpg\nb/2.jpg\n", ["a.jpg"]), ("a\nb.jpg\0a.jpg\0", ["a\nb.jpg", "a.jpg"])):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
        named = [image.name for image in named_images(["b/*.jpg", "-", "shard.tar"])]
        assert named == ["b/1.jpg", "b/2.jpg", *first, "shard.tar/x.jpg"]
    with pytest.raises(UsageError, match=r"nothing matches \*\.png; name files, folders or tars\.$"):
        named_images(["*.png"])
    with pytest.raises(UsageError, match=r"nothing matches \[x\]/\*; .* where \[ is part of a name, write \[\[\]"):
        named_images(["[x]/*"])


def test_an_image_that_is_not_handed_over_costs_itself_alone_and_is_embedded_the_next_time(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path
):
    embedder, out = load(descriptor_run.path, device="cpu"), tmp_path / "v.npy"
    images, content = named_images([str(photos)]), (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").unlink()
    with pytest.raises(ProbeError, match=r"1 of 5 images could not be read; the first: a\.jpg cannot .* is kept\.$"):
        Collection(out).write(embedder, images)
    assert not out.exists()
    (photos / "a.jpg").write_bytes(content)
    [failed] = Collection(out).write(embedder, images)
    assert failed.id == "torn.jpg"
    assert "a.jpg" in (tmp_path / "v.ids.txt").read_text().splitlines()


def test_a_list_of_ids_that_could_not_be_written_in_the_end_is_said_first(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path
):
    embedder, out = load(descriptor_run.path, device="cpu"), tmp_path / "v.npy"
    (tmp_path / "v.ids.txt").write_text("mine\n")
    with pytest.raises(UsageError, match=r"v\.ids\.txt, where the ids go, exists already"):
        Collection(out).write(embedder, named_images([str(photos)]))
    (tmp_path / "v.ids.txt").unlink()
    (photos / "a\nb.jpg").write_bytes((photos / "a.jpg").read_bytes())
    with pytest.raises(UsageError, match="has a line break"):
        Collection(out).write(embedder, named_images([str(photos)]))


def test_an_interrupted_collection_goes_on_from_its_last_part(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (photos / "torn.jpg").unlink()
    embedder, images = load(descriptor_run.path, device="cpu"), named_images([str(photos)])
    monkeypatch.setattr("probe.embed.collection.PART", 1)
    batches, seen = embedder.embed, list[int]()

    def stopping(self: Embedder, images: list, batch_size: int):
        for number, batch in enumerate(batches(images, batch_size)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    def counting(self: Embedder, images: list, batch_size: int):
        seen.append(len(images))
        return batches(images, batch_size)

    collection = Collection(tmp_path / "v.npy")
    monkeypatch.setattr(Embedder, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        collection.write(embedder, images, batch_size=1)
    monkeypatch.setattr(Embedder, "embed", counting)
    collection.write(embedder, images, batch_size=1)
    assert seen == [2]
    assert len(np.load(tmp_path / "v.npy")) == 4


def test_nothing_is_overwritten_and_what_cannot_be_written_is_said_first(
    descriptor_run: RunDirectory, photos: Path, tmp_path: Path
):
    (tmp_path / "v.npy").write_bytes(b"mine")
    said = embed(descriptor_run.path, photos, "--out", tmp_path / "v.npy", code=2)
    assert "v.npy exists already" in said
    assert "v.txt ends in none of .npy" in embed(descriptor_run.path, photos, "--out", tmp_path / "v.txt", code=2)
    assert (tmp_path / "v.npy").read_bytes() == b"mine"
    features = (descriptor_run.path.parent.parent.parent / "features" / "pocket" / "descriptor.h5").read_bytes()
    for content, sentence in (
        (b"mine", "v.h5 is no file of embeddings"),
        (features, "holds no embeddings of this run"),
    ):
        (tmp_path / "v.h5").write_bytes(content)
        assert sentence in embed(descriptor_run.path, photos, "--out", tmp_path / "v.h5", code=2)
        assert (tmp_path / "v.h5").read_bytes() == content
