"""A head of which nothing is drawn has one run, whatever its seeds; a run's name says what it was made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_cache import Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.data.manifest import COLUMNS
from probe.planning import Inventory
from probe.recipes import read_recipe
from probe.report.table import build_table
from probe.runs import sweep
from tests.report.world import RECIPE, World

ROOT = Path(__file__).resolve().parents[2]


def with_rows(world: World, *rows: str) -> World:
    world.recipe.path.write_text(RECIPE + "".join(f"  - {row}\n" for row in rows))
    return replace(world, recipe=read_recipe(world.recipe.path))


@pytest.mark.parametrize(
    ("head", "seeds"),
    [
        ("{kind: full-dimension}", [0]),
        ("{kind: average-pooling, dim: 4}", [0]),
        ("{kind: pca-whitening, dim: 4, per_domain: 0}", [0]),
        ("{kind: pca-whitening, dim: 4}", [1, 2, 3]),  # it draws the images that it is fitted on
        ("{kind: random-projection, dim: 4}", [1, 2, 3]),
    ],
)
def test_a_head_of_which_nothing_is_drawn_has_one_run(world: World, head: str, seeds: list[int]):
    row = with_rows(world, f"{{name: A, head: {head}, seeds: [1, 2, 3]}}").recipe.rows[-1]
    assert [run.seed for run in row.runs] == seeds


@pytest.mark.slow
def test_the_table_shows_one_run_and_no_deviation_for_it(world: World):
    at = with_rows(world, "{name: Pooled, head: {kind: average-pooling, dim: 4}}")
    at.write_store()
    inventory = Inventory(at.recipe, at.workspace)
    sweep(inventory.runs(), "cpu")
    pooled, random = (next(r for r in build_table(inventory).rows if r.name == n) for n in ("Pooled", "Random"))
    assert (pooled.done, pooled.planned, random.done, random.planned) == (1, 1, 3, 3)
    cells = [row.cell("Mean", "R@1") for row in (pooled, random)]
    assert [cell.std is None for cell in cells if cell] == [True, False]


def test_the_24_pooling_rows_of_unifexs_table_3_have_one_run_each_and_its_linear_ones_three():
    rows = read_recipe(ROOT / "recipes" / "unifex_table3.yaml").rows
    assert sorted(len(row.runs) for row in rows) == [1] * 24 + [3] * 24


def training_set(world: World, name: str) -> None:
    """Six images of two classes, and their features."""
    rows = [(f"{label}/{i}.jpg", name, label, "birds", "train", "train") for label in "ab" for i in range(3)]
    (world.workspace.data_root / name).mkdir()
    pl.DataFrame(rows, COLUMNS, orient="row").write_csv(world.workspace.data_root / name / "manifest.csv")
    with StoreWriter(world.workspace.store(name, "descriptor"), find_backbone("descriptor").spec()) as writer:
        features = np.random.default_rng(0).normal(size=(len(rows), 16))
        writer.add(Rows([image for image, *_ in rows], features, np.full((len(rows), 2), 64)), [])
        writer.finish()


def test_runs_that_differ_in_their_data_alone_have_different_names(world: World):
    head = "head: {kind: pca-whitening, dim: 2, per_domain: 0}"
    rows = [f"{{name: Own, {head}}}", *(f"{{name: {name}, train: {name}, {head}}}" for name in ("one", "other"))]
    at = with_rows(world, *rows)
    at.write_store()
    for name in ("one", "other"):
        training_set(at, name)
    inventory = Inventory(at.recipe, at.workspace)
    names = [inventory.runs_of[row][0].name for row in ("Own", "one", "other")]
    assert names == [f"descriptor_pca-whitening_seed0_{data}" for data in ("small", "one+small", "other+small")]
