"""Photographs in an index: found first by themselves, followed in their folders, and searched in every way."""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from feature_cache import StoreError, writer_lock
from probe import Index
from probe.cli import app
from probe.embed import list_images
from probe.errors import ProbeError, UsageError
from probe.index import Box, Query, hits_page
from probe.runs import RunDirectory
from tests.embed.conftest import World


@pytest.fixture
def index(indexed: Path) -> Index:
    return Index.open(indexed, device="cpu")


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def ids(folder: Path) -> list[str]:
    return [f"photos/{file.relative_to(folder).as_posix()}" for file in files(folder)]


def probe(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_an_indexed_image_finds_itself_first(index: Index, folder: Path):
    hits = index.search(folder, k=3).frame
    first = hits.filter(hits["rank"] == 1)
    assert first["id"].to_list() == ids(folder)
    assert (first["similarity"] > 1 - 1e-6).all()
    assert first["label"].to_list() == [file.parent.name for file in files(folder)]
    sizes = [Image.open(file).size for file in files(folder)]
    assert first.select("width", "height").rows() == sizes


def test_left_out_it_finds_what_it_found_second(index: Index, folder: Path, tmp_path: Path):
    copy = shutil.copy(files(folder)[0], tmp_path / "copy.jpg")  # its bytes, not its place, say which file it is
    without, with_it = index.search(copy, k=2, exclude_self=True), index.search(copy, k=3)
    assert without.frame["id"].to_list() == with_it.frame["id"].to_list()[1:]
    vector = index.vectors(ids(folder)[:1])
    named = index.search(vector, k=2, exclude=[ids(folder)[:1]])
    assert named.frame["id"].to_list() == without.frame["id"].to_list()
    with pytest.raises(UsageError, match="vectors are of no file"):
        index.search(vector, exclude_self=True)


def test_a_condition_leaves_only_the_rows_for_which_it_holds(index: Index, folder: Path):
    label = files(folder)[0].parent.name
    hits = index.search(files(folder)[-1], k=100, where=f"label = '{label}' AND width > 0").frame
    assert set(hits["id"]) == {image for image in ids(folder) if f"/{label}/" in image}
    for wrong in ("nothing = 1", "label =", "label", "count(*) > 1", "SELECT 1; DROP TABLE x", "label = 1 / 'a'"):
        with pytest.raises(UsageError, match=r"cannot be used|is not true or false"):
            index.search(files(folder)[0], where=wrong)


def test_queries_are_means_differences_and_parts(index: Index, folder: Path):
    first, second, third = (list_images(file) for file in files(folder)[:3])
    embedded = index.embedder.encode(files(folder)[:3])
    whole = Image.open(files(folder)[0]).convert("RGB")
    part = index.embedder.encode(whole.crop((5, 6, 45, 56)))
    queries = [
        Query("mean", [*first, *second, *third]),
        Query("difference", first, minus=[*second, *third]),
        Query("part", first, box=Box(5, 6, 40, 50)),
    ]
    expected = [embedded.mean(0), embedded[0] - embedded[1:].mean(0), part[0]]
    found, by_vectors = index.search(queries, k=5), index.search(np.stack(expected), k=5)
    assert found.queries == ("mean", "difference", "part")
    assert found.frame["id"].to_list() == by_vectors.frame["id"].to_list()
    np.testing.assert_allclose(found.frame["similarity"], by_vectors.frame["similarity"], atol=1e-5)
    with pytest.raises(UsageError, match="goes beyond"):
        index.search([Query("part", first, box=Box(0, 0, 10_000, 10))])
    with pytest.raises(UsageError, match="nothing is left"):
        index.search([Query("nothing", first, minus=first)])
    for text in ("1,2,3", "a,b,c,d", "0,0,0,5", "-1,0,5,5"):
        with pytest.raises(UsageError, match="box"):
            Box.parse(text)


def test_it_follows_its_folder(run: RunDirectory, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photos = shutil.copytree(folder, tmp_path / "photos")
    index = Index.create(tmp_path / "index", run.path, device="cpu")
    index.add(photos)
    gone, changed, moved, *rest = files(photos)
    content = changed.read_bytes()
    gone.unlink()
    shutil.copy(rest[0], changed)
    (photos / "new").mkdir()
    moved.rename(photos / "new" / moved.name)
    (photos / "torn.jpg").write_bytes(content[:100])
    changes = index.update()
    assert (changes.added, changes.replaced, changes.removed) == (1, 1, 2)
    assert changes.unchanged == len(rest)
    assert [failure.id for failure in changes.failures] == ["photos/torn.jpg"]
    (photos / "torn.jpg").unlink()
    anew = Index.create(tmp_path / "anew", run.path, device="cpu")
    anew.add(photos)
    assert index.frame.equals(anew.frame.select(index.frame.columns))
    np.testing.assert_allclose(index.vectors(ids(photos)), anew.vectors(ids(photos)), atol=1e-6)
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"was in .*photos, which is not there"):
        index.update()
    assert len(index) == len(anew)
    assert index.remove_source("photos") == len(anew)
    assert len(Index.open(tmp_path / "index")) == 0


def test_columns_that_a_manifest_has_got_anew_are_taken_over_without_embedding(
    run: RunDirectory, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = world.manifest.where_rows(world.manifest.frame["split"] == "test")
    home = tmp_path / "pocket"
    for image in manifest.images("pocket"):
        (home / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / image, home / image)
    manifest.write(home / "manifest.csv")
    index = Index.create(tmp_path / "index", run.path, device="cpu")
    index.add(home)
    assert set(index.frame["domain"]) == {"food_grocery"}
    vectors = index.vectors(index.frame["id"].to_list())
    text = (home / "manifest.csv").read_text()
    (home / "manifest.csv").write_text(text.replace(",food_grocery,", ",food,"))
    monkeypatch.setattr(type(index.embedder), "embed", lambda *_: pytest.fail("it was embedded again"))
    changes = index.update()
    assert (changes.replaced, changes.added, changes.removed) == (len(index), 0, 0)
    assert set(index.frame["domain"]) == {"food"}
    assert index.vectors(index.frame["id"].to_list()).tobytes() == vectors.tobytes()


def test_it_knows_its_embedder(run: RunDirectory, world: World, index: Index, folder: Path, tmp_path: Path):
    other = world.run(backbone="descriptor", head={"kind": "random-projection", "dim": 16})
    with pytest.raises(UsageError, match=f"is not what made the vectors .* run {run.key[:12]}"):
        Index.open(index.path, run=other.path).search(files(folder)[0])
    with pytest.raises(UsageError, match="makes its vectors itself"):
        index.add_vectors(["a"], np.ones((1, 16), np.float32))
    with pytest.raises(UsageError, match=r"shape \(1, 3\)"):
        index.search(np.ones((1, 3)))
    for made_by, code in ((other, 2), (run, 0)):
        store = tmp_path / f"{made_by.key}.h5"
        probe("embed", made_by.path, folder, "--out", store, "--device", "cpu")
        copy = shutil.copytree(index.path, tmp_path / f"{made_by.key}.index")
        said = probe("index", "add", copy, store, code=code)
        assert ("has vectors of" in said) == bool(code)
        assert len(Index.open(copy)) == len(index) * (1 if code else 2)


def test_one_writer_at_a_time_and_readers_keep_what_they_have_opened(indexed: Path, folder: Path, tmp_path: Path):
    path = shutil.copytree(indexed, tmp_path / "index")
    reader, writer = Index.open(path, device="cpu"), Index.open(path, device="cpu")
    with writer_lock(path), pytest.raises(StoreError, match="is being written by"):
        writer.remove(ids(folder)[:1])
    writer.remove(ids(folder)[:1])
    writer.compact()
    assert ids(folder)[0] in reader.frame["id"]
    assert reader.search(files(folder)[0], k=1).frame["id"].to_list() == ids(folder)[:1]
    assert ids(folder)[0] not in Index.open(path).frame["id"]
    with pytest.raises(UsageError, match=r"has no 1 of these 2 ids .*nothing is removed"):
        writer.remove(ids(folder)[:2])


def test_long_strips_are_added_and_searched_without_being_enlarged_whole(run: RunDirectory, tmp_path: Path):
    strips = tmp_path / "strips"
    strips.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1, 60_000, 3), np.uint8)
    Image.fromarray(noise).save(strips / "wide.png")
    Image.fromarray(noise.transpose(1, 0, 2)).save(strips / "high.png")
    index = Index.create(tmp_path / "index", run.path, device="cpu")
    index.embedder.encode(strips / "wide.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert index.add(strips).added == 2
    first = index.search(strips, k=1).frame["id"].to_list()
    assert first == ["strips/high.png", "strips/wide.png"]
    index.search([Query("part", list_images(strips / "wide.png"), box=Box(5, 0, 50_000, 1))])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB; 256 x 15,360,000 px are 12 GB


@pytest.mark.slow
def test_the_commands_do_all_of_it(run: RunDirectory, folder: Path, tmp_path: Path):
    photos, path = shutil.copytree(folder, tmp_path / "photos"), tmp_path / "photos.index"
    assert "16 dimensions" in probe("index", "create", path, run.path, "--device", "cpu")
    assert "exists already" in probe("index", "create", path, run.path, code=2)
    assert f"{len(files(photos))} added" in probe("index", "add", path, photos)
    assert f"0 added, 0 replaced, 0 removed; {len(files(photos))} unchanged" in probe("index", "update", path)
    query = files(photos)[0]
    table = probe("search", path, query, "-k", 2).splitlines()
    assert table[0] == str(query)
    assert table[2].split()[:3] == ["1", "1.0000", ids(photos)[0]]
    found = json.loads(probe("search", path, query, photos / "*" / "*", "--mean", "-k", 3, "--json"))
    assert [len(each["hits"]) for each in found["queries"]] == [3]
    probe("index", "remove", path, ids(photos)[0])
    assert "1 added" in probe("index", "update", path)
    probe("index", "compact", path)
    assert "all good" in probe("index", "verify", path)
    info = probe("index", "info", path)
    assert f"rows: {len(files(photos))} of 16 dimensions" in info
    assert f"source photos: {len(files(photos))} images in {photos}" in info
    assert "name ids, or a source" in probe("index", "remove", path, code=2)
    assert "there is no index at" in probe("search", tmp_path, query, code=2)


def test_a_page_of_hits_shows_images_and_runs_nothing_that_a_name_says(index: Index, folder: Path, tmp_path: Path):
    evil = tmp_path / '"><script>alert(1)<'
    shutil.copy(files(folder)[0], evil)
    query = Query(evil.name, list_images([evil]))
    page = hits_page(index, [query], index.search([query], k=3))
    assert page.count("data:image/webp;base64,") == 4
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http:" not in page
    assert "https:" not in page


def test_damage_is_found_when_it_is_read(indexed: Path, folder: Path, tmp_path: Path):
    for suffix in ("npy", "parquet"):
        path = shutil.copytree(indexed, tmp_path / suffix)
        (file,) = path.glob(f"*.{suffix}")
        content = bytearray(file.read_bytes())
        content[-9] ^= 4
        file.write_bytes(content)
        assert "is not what was written" in probe("index", "verify", path, code=1)
        with pytest.raises(ProbeError, match="is not what was written"):
            Index.open(path, device="cpu").search(np.ones((1, 16)))
    path = shutil.copytree(indexed, tmp_path / "manifest")
    (path / "manifest.json").write_text((path / "manifest.json").read_text().replace('"state": ', '"state": 1'))
    with pytest.raises(UsageError, match="it is not what was written"):
        Index.open(path)
