"""Features that tell no image from another are told before a score of them is printed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from probe.backbones.catalogue import Backbone
from probe.data.folder import image_folder
from probe.extract.constants import Constants
from probe.extract.plan import Settings
from probe.extract.session import extract_sources
from probe.workspace import Workspace
from tests.fit.world import World, features_of, small_manifest


def constants_of(features: np.ndarray, block: int) -> Constants:
    found = Constants()
    for start in range(0, len(features), block):
        found.add(features[start : start + block])
    return found


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_columns_are_those_that_one_look_at_all_rows_finds(dtype: type, block: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 9, (50, 20)).astype(dtype)
    features[:, [3, 11]] = [2.5, 0]
    features[:49, 17] = 1  # not in the last row
    features[49, 17] = 2
    expected = int((features == features[0]).all(axis=0).sum())
    assert expected == 2
    assert constants_of(features, block).remark == "2 of 20 columns of the features are the same in all 50 images"
    varied = rng.normal(size=(50, 20)).astype(dtype)
    assert constants_of(varied, block).remark is None


@pytest.mark.parametrize(("value", "word"), [(0.0, "zero"), (1.5, "equal")])
def test_features_that_are_all_equal_are_told(value: float, word: str) -> None:
    found = constants_of(np.full((30, 4), value, np.float32), 8)
    assert found.all
    assert str(found.remark).startswith(f"the features of all 30 images are {word}: they tell no image from another")


def test_nothing_is_said_of_one_image() -> None:
    assert constants_of(np.zeros((1, 4), np.float32), 8).remark is None
    assert Constants().remark is None


def test_weights_of_zeros_are_told_at_the_end_of_the_extraction(
    backbone: Backbone, photos, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backbone.weights_file
    state = {name: torch.zeros_like(tensor) for name, tensor in load_file(backbone.weights_file).items()}
    save_file(state, tmp_path / "zeros.safetensors")
    from probe.backbones.catalogue import find_backbone

    zeros = find_backbone("tiny", backbone.weights_file.with_name("catalogue.yaml"), tmp_path / "zeros.safetensors")
    folder = photos("shoes", 8)
    extract_sources([image_folder(folder)], zeros, workspace, Settings(batch=4, workers=0), "cpu")
    assert "shoes: the features of all 8 images are zero: they tell no image from another" in capsys.readouterr().err
    elsewhere = replace(workspace, cache=tmp_path / "elsewhere")
    extract_sources([image_folder(folder)], backbone, elsewhere, Settings(batch=4, workers=0), "cpu")
    assert "features" not in capsys.readouterr().err


def test_equal_pictures_have_equal_features_which_is_told(
    backbone: Backbone, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abcd":
        (tmp_path / "blank" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "white").save(tmp_path / "blank" / name / "1.png")
    extract_sources([image_folder(tmp_path / "blank")], backbone, workspace, Settings(batch=2, workers=0), "cpu")
    assert "blank: the features of all 4 images are equal" in capsys.readouterr().err


def test_of_cached_features_all_splits_count_and_appended_sizes_do_not(tmp_path: Path) -> None:
    world = World(tmp_path, small_manifest())
    features = features_of(world.frame)
    features[:, 2] = 7
    world.store(features)
    cached = world.cached()
    images = world.frame.n_unique(["source", "image"])
    assert cached.constants.remark == (
        f"1 of {features.shape[1]} columns of the features are the same in all {images} images"
    )
    assert not cached.all_equal
    (tmp_path / "equal").mkdir()
    equal = World(tmp_path / "equal", small_manifest())
    equal.store(np.ones_like(features))
    assert equal.cached().all_equal
