"""An index whose last step is fitted to its own images: by its formula, in step with them, and apart from any other."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from probe.cli import app
from probe.embed import Embedder, load
from probe.errors import ProbeError, UsageError
from probe.heads import Discriminant
from probe.index import Index, near_pairs
from probe.index.projection import Projection, write_projection
from probe.index.writer import writing
from probe.runs import RunDirectory
from tests.embed.conftest import World
from tests.index.test_any_sequence import bits

DIM = 2  # of the three in which the four classes differ


@pytest.fixture(autouse=True, scope="module")
def _few_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probe.index.writer.ENOUGH", 4)
        yield


@pytest.fixture(scope="module")
def discriminant(world: World) -> RunDirectory:
    return world.run(backbone="mobilenetv1", head={"kind": "discriminant", "dim": DIM})


@pytest.fixture(scope="module")
def made(discriminant: RunDirectory, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the folder, whose 12 images are enough; only to be read."""
    path = tmp_path_factory.mktemp("fitted") / "index"
    index = Index.create(path, discriminant.path, device="cpu", fit_to_collection=True)
    assert index.manifest.fit is not None
    assert index.manifest.fit.rows == 0
    index.add(folder)
    assert index.manifest.fit.rows == len(index) == 12
    return path


@pytest.fixture
def fitted(made: Path, tmp_path: Path) -> Index:
    return Index.open(shutil.copytree(made, tmp_path / "fitted"), device="cpu")


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.mark.slow
def test_its_vectors_are_the_principal_components_of_whitened_images_of_unit_length(
    fitted: Index, discriminant: RunDirectory, folder: Path
):
    run = load(discriminant.path, device="cpu")
    features = run.with_head(torch.nn.Identity(), "features").encode(files(folder)).astype(np.float64)
    head = run.head
    assert isinstance(head, Discriminant)
    whitened = (features - head.mean.double().numpy()) @ head.whitening.double().numpy().T
    whitened /= np.linalg.norm(whitened, axis=1, keepdims=True)
    directions = np.linalg.svd(whitened - whitened.mean(0))[2][:DIM]
    expected = whitened @ directions.T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = fitted.vectors(fitted.frame["id"].to_list())
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=5e-3)
    assert np.abs(run.similarity(found, found) - run.similarity(*[run.encode(files(folder))] * 2)).max() > 0.01


def test_queries_pass_through_the_same_projection(fitted: Index, folder: Path):
    hits = fitted.search(folder, k=1).frame
    assert hits["id"].to_list() == fitted.frame["id"].to_list()
    assert (hits["similarity"] > 1 - 1e-5).all()
    encoded = fitted.embedder.encode(folder)
    np.testing.assert_allclose(encoded, fitted.vectors(fitted.frame["id"].to_list()), atol=5e-3)


def test_before_it_has_enough_images_it_is_of_the_runs_own_last_step(
    discriminant: RunDirectory, folder: Path, tmp_path: Path
):
    few = [str(file) for file in files(folder)[:4]]
    index = Index.create(tmp_path / "few", discriminant.path, device="cpu", fit_to_collection=True)
    index.add(*few)
    found, own = index.vectors(few), load(discriminant.path, device="cpu").encode(few)
    np.testing.assert_allclose(found @ found.T, own @ own.T, atol=5e-3)
    said = CliRunner().invoke(app, ["index", "info", str(index.path)]).output
    assert "rows: 4 of 2 dimensions, float32, by cosine distance, not fitted to them yet" in said
    with pytest.raises(UsageError, match="has 4 rows, and 2 dimensions are fitted to 8 or more"):
        index.update(refit=True)


@pytest.mark.slow
def test_it_is_fitted_again_when_asked_without_embedding_again(
    fitted: Index,
    discriminant: RunDirectory,
    world: World,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    more = tmp_path / "more"
    for image in world.manifest.split("train")["image"]:  # which are unlike those of the index
        (more / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / image, more / image)
    ids = fitted.frame["id"].to_list()
    before = fitted.vectors(ids)
    copies = shutil.copytree(folder, tmp_path / "copies")
    fitted.add(copies)
    assert not fitted.manifest.outgrown  # twice as many, but of the same kind
    fitted.remove_source("copies")
    fitted.add(more)
    assert fitted.manifest.outgrown
    said = CliRunner().invoke(app, ["index", "info", str(fitted.path)]).output
    assert f"fitted to 12; fit it again: probe index update {fitted.path} --refit" in said.replace("\n", "")
    assert fitted.vectors(ids).tobytes() == before.tobytes()  # as long as it is not
    anew = Index.create(tmp_path / "anew", discriminant.path, device="cpu", fit_to_collection=True)
    anew.add(more, folder)
    monkeypatch.setattr(Embedder, "embed", lambda *_: pytest.fail("it was embedded again"))
    fitted.update(refit=True)
    assert not fitted.manifest.outgrown
    state = fitted.manifest.state
    fitted.update(refit=True)  # there is nothing to do
    assert fitted.manifest.state == state
    ids = fitted.frame["id"].to_list()
    np.testing.assert_allclose(fitted.vectors(ids), anew.vectors(ids), atol=5e-3)
    assert bits(Index.open(fitted.path).search(before, 5)) == bits(fitted.search(before, 5))
    fitted.verify()


def test_after_any_sequence_its_answers_are_those_of_one_built_anew_with_the_same_projection(tmp_path: Path):
    width, dim, chance, numbers = 40, 6, Random(1), np.random.default_rng(1)
    paths = [tmp_path / name for name in ("changed", "anew")]
    for path in paths:
        index = Index.create(path, dim=dim)
        fit = write_projection(path, "000000.projection", np.random.default_rng(2).standard_normal((dim, width)), 1)
        index.manifest.model_copy(update={"fit": fit}).write(path)
    rows: dict[str, np.ndarray] = {}
    for _ in range(30):
        with writing(paths[0]) as writer:
            some = {f"{chance.randrange(60):02}": numbers.standard_normal(width) for _ in range(chance.randint(1, 20))}
            unit = {image: row / np.linalg.norm(row) for image, row in some.items()}
            writer.put(pl.DataFrame({"id": list(unit)}), np.stack(list(unit.values())).astype(np.float32))
            rows |= unit
            gone = chance.sample(sorted(rows), chance.randint(0, len(rows) // 3))
            writer.remove(pl.Series("id", gone, pl.String))
            rows = {image: row for image, row in rows.items() if image not in gone}
            if chance.random() < 0.2:
                writer.compact()
    with writing(paths[1]) as writer:
        writer.put(pl.DataFrame({"id": list(rows)}), np.stack(list(rows.values())).astype(np.float32))
    changed, anew = (Index.open(path) for path in paths)
    ids = anew.frame["id"].to_list()
    assert changed.frame["id"].to_list() == ids
    assert changed.vectors(ids).tobytes() == anew.vectors(ids).tobytes()
    queries = numbers.standard_normal((5, dim)).astype(np.float32)
    found = [index.search(queries, 7).frame for index in (changed, anew)]
    assert found[0].rows() == found[1].rows()


def test_a_row_has_the_same_bits_beside_whichever_others(tmp_path: Path):
    chance = np.random.default_rng(0)
    projection = Projection(tmp_path, write_projection(tmp_path, "000001.projection", chance.normal(size=(64, 600)), 1))
    wider = chance.standard_normal((999, 600))
    wider = (wider / np.linalg.norm(wider, axis=1, keepdims=True)).astype(np.float16)
    whole = projection.of(wider)
    for count in (1, 2, 7, 64, 333):
        parts = [projection.of(wider[start : start + count]) for start in range(0, len(wider), count)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    shuffled = chance.permutation(600)  # of the dimensions: another order of each sum
    exact = wider[:, shuffled].astype(np.float64) @ projection.matrix[:, shuffled].T
    assert np.array_equal(exact, wider.astype(np.float64) @ projection.matrix.T)


@pytest.mark.slow
def test_its_vectors_fit_no_other_index(
    fitted: Index, discriminant: RunDirectory, run: RunDirectory, folder: Path, tmp_path: Path
):
    plain = Index.create(tmp_path / "plain", discriminant.path, device="cpu")
    for pair in ((fitted, plain), (plain, fitted)):
        with pytest.raises(UsageError, match="is fitted to its own collection, so that"):
            near_pairs(*pair, 0.9)
    assert near_pairs(fitted, Index.open(fitted.path), 0.999).pairs.height >= len(fitted)
    with pytest.raises(UsageError, match="is not fitted to its collection; make one"):
        plain.update(refit=True)
    with pytest.raises(UsageError, match="'Linear' has no last step that can be fitted"):
        Index.create(tmp_path / "linear", run.path, device="cpu", fit_to_collection=True)
    with pytest.raises(UsageError, match="have no head to be fitted"):
        Index.create(tmp_path / "vectors", dim=4, fit_to_collection=True)
    store = tmp_path / "embedded.h5"
    CliRunner().invoke(app, ["embed", str(discriminant.path), str(folder), "--out", str(store), "--device", "cpu"])
    with pytest.raises(UsageError, match="vectors that `probe embed` wrote are not"):
        fitted.add_embedded(store)


def test_damage_to_what_it_was_fitted_by_is_found(fitted: Index):
    for pattern in ("*.projection.npy", "*.wider.npy"):
        (file,) = fitted.path.glob(pattern)
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
        with pytest.raises(ProbeError, match=rf"{file.name} is not what was written"):
            Index.open(fitted.path).verify()
        content[-3] ^= 1
        file.write_bytes(content)
    Index.open(fitted.path).verify()


def test_a_head_of_before_the_whitening_was_kept_embeds_as_ever(discriminant: RunDirectory, tmp_path: Path):
    file = tmp_path / "head.safetensors"
    state = load_file(discriminant.path / "head.safetensors")
    del state["whitening"]
    save_file(state, file)
    head, features = Discriminant(1024, DIM, torch.Generator()), torch.rand(2, 1024)
    head.load_state_dict(load_file(file))
    assert torch.equal(head(features), discriminant.head(torch.device("cpu"))(features))
    with pytest.raises(UsageError, match="before its whitening was kept"):
        head.last_step()
