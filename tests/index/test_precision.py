"""An index knows the precision that its vectors were embedded in: it embeds in no other, and takes no others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xxhash
from typer.testing import CliRunner

from probe.cli import app
from probe.embed import Collection, load, named_images
from probe.errors import UsageError
from probe.export import export
from probe.index import Index
from probe.runs import RunDirectory

MADE_IN_BF16 = "are made in bf16, and fp32 is asked for; leave the precision out, or make another index"


@pytest.fixture(scope="module")
def empty(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index in bf16, of no image yet; only to be read."""
    path = tmp_path_factory.mktemp("bf16") / "photos.index"
    Index.create(path, run.path, device="cpu", precision="bf16")
    return path


@pytest.fixture(scope="module")
def halved(empty: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the folder in bf16; only to be read."""
    path = shutil.copytree(empty, tmp_path_factory.mktemp("of the folder") / "photos.index")
    Index.open(path, device="cpu").add(folder)
    return path


@pytest.mark.slow
def test_it_embeds_in_its_own_precision_whenever_it_is_opened(halved: Path, run: RunDirectory, folder: Path):
    index = Index.open(halved, device="cpu")
    assert index.manifest.embedder is not None
    assert index.manifest.embedder.precisions == {"mobilenetv1": "bf16"}
    ids = index.frame["id"].to_list()
    own, others = (load(run.path, device="cpu", precision=each).encode(folder) for each in ("bf16", "fp32"))
    np.testing.assert_allclose(index.vectors(ids), own, atol=1e-6)
    assert np.abs(index.vectors(ids) - others).max() > 1e-4
    hits = index.search(folder, k=1).frame
    assert hits["id"].to_list() == ids
    assert (hits["similarity"] > 1 - 1e-6).all()
    assert Index.open(halved, device="cpu", precision="bf16").embedder.key == f"{run.key}-bf16"


@pytest.mark.parametrize(
    "words", ["index add {index} {folder}", "index update {index}", "search {index} {folder}", "serve {index}"]
)
def test_another_is_refused_before_anything_is_done(empty: Path, folder: Path, words: str):
    before = (empty / "manifest.json").read_bytes()
    given = [word.format(index=empty, folder=folder) for word in words.split()]
    done = CliRunner().invoke(app, [*given, "--precision", "fp32", "--device", "cpu"])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert f"the vectors of {empty} are made in bf16, and fp32 is asked for; leave the precision out, or make" in said
    assert "`probe index create --precision fp32`" in said
    assert (empty / "manifest.json").read_bytes() == before
    with pytest.raises(UsageError, match=MADE_IN_BF16):
        Index.open(empty, device="cpu", precision="fp32")


@pytest.mark.slow
def test_vectors_that_were_embedded_in_another_are_refused(
    halved: Path, indexed: Path, run: RunDirectory, folder: Path, tmp_path: Path
):
    stores = {name: tmp_path / f"{name}.h5" for name in ("fp32", "bf16")}
    for name, store in stores.items():
        Collection(store).write(load(run.path, device="cpu", precision=name), named_images([str(folder)]))
    for name, path in (("fp32", indexed), ("bf16", halved)):
        index = Index.open(shutil.copytree(path, tmp_path / name), device="cpu")
        (other,) = stores.keys() - {name}
        of = {"fp32": run.key[:12], "bf16": f"{run.key[:12]}-bf16"}
        with pytest.raises(UsageError, match=f"has vectors of {of[other]}, and those of .* are of {of[name]};"):
            index.add_embedded(stores[other])
        assert index.add_embedded(stores[name]) == 12


def test_an_index_of_before_precisions_were_kept_is_that_of_its_run(indexed: Path, folder: Path, tmp_path: Path):
    path = shutil.copytree(indexed, tmp_path / "index")
    content = json.loads((path / "manifest.json").read_text())["index"]
    for name in ("precisions", "key"):
        del content["embedder"][name]
    seal = xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
    (path / "manifest.json").write_text(json.dumps({"index": content, "seal": seal}))
    hits = Index.open(path, device="cpu", precision="fp32").search(folder, k=1).frame
    assert hits["similarity"].to_numpy().min() > 1 - 1e-6
    with pytest.raises(UsageError, match="are made in fp32, and bf16 is asked for"):
        _ = Index.open(path, device="cpu", precision="bf16").embedder


@pytest.mark.slow
def test_an_export_in_the_place_of_the_run_embeds_in_the_precision_of_the_index(
    halved: Path, run: RunDirectory, folder: Path, tmp_path: Path
):
    export(run.path, tmp_path / "exported", data_root=tmp_path)
    assert load(tmp_path / "exported", device="cpu").precisions == {"mobilenetv1": "fp32"}
    index = Index.open(halved, run=tmp_path / "exported", device="cpu")
    assert index.embedder.precisions == {"mobilenetv1": "bf16"}
    assert index.search(folder, k=1).frame["similarity"].to_numpy().min() > 1 - 1e-5
    of_export = Index.create(tmp_path / "index", tmp_path / "exported", device="cpu")
    store = tmp_path / "exported.h5"
    Collection(store).write(load(tmp_path / "exported", device="cpu"), named_images([str(folder)]))
    assert of_export.add_embedded(store) == 12
