"""A run knows its backbone: the same weights are found, and others refused."""

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from feature_cache import FeatureStore, Remarks, StoreWriter
from probe import load
from probe.errors import UsageError
from probe.runs import RunDirectory
from tests.embed.conftest import World


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def moved(run: RunDirectory, tmp_path: Path) -> Path:
    """The run, as it would be if its weights had lain in `tmp_path / "weights.safetensors"`."""
    folder = Path(shutil.copytree(run.path, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["features"]["weights"]["mobilenetv1"]["file"] = str(tmp_path / "weights.safetensors")
    config["sealed"] = False
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "digests.json").unlink()
    return folder


@pytest.fixture
def others(world: World, tmp_path: Path) -> Path:
    """Weights of the same shape."""
    state = load_file(world.weights)
    state["conv_stem.weight"][0, 0, 0, 0] += 1
    save_file(state, tmp_path / "others.safetensors")
    return tmp_path / "others.safetensors"


def test_a_store_and_a_run_say_where_the_weights_lay(run: RunDirectory, world: World):
    stored = FeatureStore(world.workspace.store("pocket", "mobilenetv1")).remarks.weights
    assert stored == {"file": str(world.weights)}
    assert run.features.weights["mobilenetv1"].file == str(world.weights)
    assert run.features.spec["mobilenetv1"]["backbone"]["weights_sha256"] == sha256(world.weights)


def test_weights_that_are_not_where_they_were_are_asked_for_and_found_by_name(moved: Path, world: World):
    with pytest.raises(UsageError, match=r"weights of mobilenetv1 are not where they were, .*; name the file with"):
        load(moved, device="cpu")
    assert load(moved, weights=world.weights, device="cpu").dim == 16
    assert load(moved, weights={"mobilenetv1": world.weights}, device="cpu").dim == 16
    with pytest.raises(UsageError, match="there is no backbone 'mobilnet'; did you mean 'mobilenetv1'"):
        load(moved, weights={"mobilnet": world.weights})


def test_other_weights_are_refused_with_the_digests_of_both(run: RunDirectory, moved: Path, others: Path, world: World):
    both = rf"{sha256(others)}.*{sha256(world.weights)}"
    with pytest.raises(UsageError, match=both):
        load(run.path, weights=others)
    others.rename(others.with_name("weights.safetensors"))  # replaced where they lay
    with pytest.raises(UsageError, match=both):
        load(moved)


def test_what_is_no_run_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="is not a finished run"):
        load(tmp_path)


def test_the_place_of_the_weights_decides_nothing_and_outlives_a_merge(tmp_path: Path, world: World):
    path = Path(shutil.copy(world.workspace.store("pocket", "mobilenetv1"), tmp_path / "store.h5"))
    store = FeatureStore(path)
    rows = next(store.blocks()).select(store.sizes[:, 0] > 0)
    with StoreWriter(tmp_path / "more.h5", store.spec, remarks=Remarks({"file": "elsewhere"})) as writer:
        writer.add(rows)
        writer.finish()
    assert FeatureStore(tmp_path / "more.h5").fingerprint == store.fingerprint
    with StoreWriter.resume(path) as writer:
        writer.absorb(FeatureStore(tmp_path / "more.h5"))
    assert FeatureStore(path).remarks.weights == {"file": str(world.weights)}
