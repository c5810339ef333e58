"""Small runs on photographs of the pocket set, by a pretrained MobileNet, and by it and the descriptor, fused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from probe.backbones import find_backbone
from probe.data import Manifest, read_manifest
from probe.extract import CachedFeatures, Settings, extract_sources
from probe.fit import read_run_config
from probe.runs import Run, RunDirectory, sweep
from probe.workspace import Workspace
from tests.conftest import Shared

ROOT = Path(__file__).resolve().parents[2]
EACH, CLASSES = 3, 4  # images of a class, classes of a split


@dataclass(frozen=True)
class World:
    """Some photographs, their features, and the runs on them."""

    manifest: Manifest
    workspace: Workspace
    weights: Path

    @property
    def folder(self) -> Path:
        """Of the images."""
        return self.manifest.roots["pocket"]

    def run(self, **config: Any) -> RunDirectory:
        """The run of a configuration, fitted where it is not yet."""
        read = read_run_config(config)
        features = CachedFeatures(self.manifest, read, {name: {} for name in read.stores("test")}, self.workspace)
        run = Run(read, features.identity, self.workspace.runs)
        sweep([(run, features)], "cpu")
        return run.directory


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> World:
    weights = shared("weights/mobilenetv1_100.tf_qat_in1k_nohead.safetensors")
    whole = read_manifest(shared("data/pocket/manifest.csv"))
    first = whole.frame.filter(pl.col("domain") == "food_grocery").group_by("split", "label", maintain_order=True)
    few = first.head(EACH).group_by("split", maintain_order=True).head(EACH * CLASSES)
    home = tmp_path_factory.mktemp("embed")
    workspace = Workspace(home / "data", home / "features", home / "out")
    manifest = Manifest(few.select(whole.frame.columns), whole.roots, name="pocket")
    settings = Settings(workers=0)
    mobilenet = find_backbone("mobilenetv1", ROOT / "recipes" / "pocket.yaml", weights)
    for backbone in (mobilenet, find_backbone("descriptor")):
        extract_sources([manifest], backbone, workspace, settings, "cpu")
    return World(manifest, workspace, weights)


@pytest.fixture(scope="session")
def run(world: World) -> RunDirectory:
    """Of a trained head on MobileNet's features."""
    return world.run(
        backbone="mobilenetv1",
        head={"kind": "linear", "dim": 16},
        loss={"kind": "arcface"},
        training={"epochs": 1, "batch": 8, "lr": 0.01},
    )
