"""The small measured world of world.py, written down."""

from pathlib import Path

import polars as pl
import pytest

from probe.recipes.recipe import read_recipe
from probe.workspace import Workspace
from tests.report.measured import Measured, measure
from tests.report.world import PRINTED, RECIPE, ROLE, SPLITS, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    classes = [(domain, f"{domain}{n}", split) for domain in ("birds", "cars") for n, split in enumerate(SPLITS)]
    rows = [(f"{d}/{label}/{i}.jpg", "small", label, d, s, ROLE[s]) for d, label, s in classes for i in range(4)]
    schema = ["image", "source", "label", "domain", "split", "role"]
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    pl.DataFrame(rows, schema, orient="row").write_csv(folder / "manifest.csv")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "printed.csv").write_text(PRINTED)
    (tmp_path / "small.yaml").write_text(RECIPE)
    workspace = Workspace(tmp_path / "data", tmp_path / "features", tmp_path / "out")
    return World(read_recipe(tmp_path / "small.yaml"), workspace, [row[0] for row in rows])


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Nobody changes it: what is written goes elsewhere, or under a name of its own."""
    return measure(tmp_path_factory.mktemp("measured"))
