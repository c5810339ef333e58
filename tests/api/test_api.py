"""The public API: what it gives is what the commands give, and importing it costs nothing."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probe
from feature_cache import FeatureStore, MissingIdsError
from probe.data import Manifest, image_folder, resolve_data
from probe.errors import UsageError
from tests.integration.commands import photos

EXAMPLE = Path(__file__).with_name("example.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("api") / "photos", classes=12, each=3)


@pytest.fixture(scope="module")
def store(folder: Path) -> FeatureStore:
    return probe.extract(folder, "descriptor", workers=0, cache=folder.parent / "features")


def test_the_typed_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("PROBE_CACHE", str(folder.parent / "features"))
    exec(compile(EXAMPLE.read_text(), str(EXAMPLE), "exec"), {})


def test_importing_it_loads_nothing_heavy_and_packages_do_not_take_its_functions_places():
    code = "import sys, probe; assert not {'torch', 'polars', 'h5py', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in ("probe.fit", "probe.extract.local", "probe.evaluate"):
        importlib.import_module(name)
    assert all(callable(getattr(probe, name)) for name in ("fit", "extract", "evaluate"))
    assert importlib.import_module("probe.fit").__name__ == "probe.fit"


def test_a_head_or_loss_with_options_alone_is_its_configuration():
    assert probe.heads.Linear(dim=8, dropout=0.1) == probe.heads.Linear.Config(dim=8, dropout=0.1)
    assert probe.losses.ArcFace() == probe.losses.ArcFace.Config()


def test_a_store_is_a_sequence_of_rows_that_ids_name_too(store: FeatureStore):
    rows = store.load()
    assert len(store) == len(rows) == 36
    for found, expected in (
        (store[0], rows[0]),
        (store[-1], rows[-1]),
        (store[store.ids[5]], rows[5]),
        (store[2:7:2], rows[2:7:2]),
        (store[::-1], rows[::-1]),
        (np.array(list(store)), rows),
    ):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(IndexError):
        store[36]
    with pytest.raises(MissingIdsError):
        store["gone.png"]


def test_a_store_as_a_frame_and_as_a_data_set_has_its_rows_by_id(store: FeatureStore, folder: Path):
    table = store.to_polars()
    assert table["id"].to_list() == store.ids
    np.testing.assert_array_equal(table["features"].to_numpy(), store.load().astype(np.float32))
    manifest = image_folder(folder)
    shuffled = Manifest(manifest.frame.sample(fraction=1, shuffle=True, seed=0), manifest.roots)
    labels = sorted(set(shuffled.frame["label"]))
    dataset = store.to_torch_dataset(shuffled)
    for number, row in enumerate(shuffled.frame.iter_rows(named=True)):
        features, label = dataset[number]
        np.testing.assert_array_equal(features.numpy(), store[row["image"]])
        assert labels[label] == row["label"]


@pytest.mark.slow
def test_a_data_set_of_hugging_face_is_extracted_fitted_and_encoded_as_its_images_are(
    folder: Path, store: FeatureStore, tmp_path: Path
):
    datasets = pytest.importorskip("datasets")
    ids = store.ids
    labels = sorted({each.partition("/")[0] for each in ids})
    features = {"image": datasets.Image(), "id": datasets.Value("string"), "label": datasets.ClassLabel(names=labels)}
    content = {
        "image": [str(folder / each) for each in ids],
        "id": ids,
        "label": [each.partition("/")[0] for each in ids],
    }
    dataset = datasets.Dataset.from_dict(content, features=datasets.Features(features))
    places: dict[str, Any] = {"data_root": tmp_path, "cache": tmp_path}
    found = probe.extract(dataset, "descriptor", workers=0, **places)
    np.testing.assert_array_equal(found.load(ids), store.load(ids))
    run = probe.fit(dataset, "descriptor", probe.heads.PCAWhitening(dim=8), out=tmp_path / "out", **places)
    embedder = probe.load(run.path, device="cpu")
    np.testing.assert_allclose(embedder.encode(dataset), embedder.encode([folder / each for each in ids]), atol=1e-6)


def test_embeddings_are_scored_by_their_ids_in_any_order(store: FeatureStore, folder: Path):
    order = np.random.default_rng(0).permutation(len(store))
    vectors, ids = store.load().astype(np.float32)[order], [store.ids[row] for row in order]
    scores = probe.evaluate(vectors, folder, ids=ids)
    assert scores == probe.evaluate(store, resolve_data(str(folder), folder))
    with pytest.raises(UsageError, match="need `ids`"):
        probe.evaluate(vectors, folder)
    with pytest.raises(UsageError, match="lacks"):
        probe.evaluate(vectors[:3], folder, ids=ids[:3])
