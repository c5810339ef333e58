"""Rows that are trained on other data than they are tested on, and what is said when that is not here."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_cache import Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.data.manifest import COLUMNS, Manifest
from probe.data.selection import with_training
from probe.errors import UsageError
from probe.fit.sweep import sweep
from probe.tables.bench import Bench
from probe.tables.recipe import read_recipe
from probe.tables.table import build_table
from tests.tables.world import RECIPE, World

ELSEWHERE = "- {name: Elsewhere, train: more, head: {kind: pca-whitening, dim: 4}}"
HERE = "- {name: Here, head: {kind: pca-whitening, dim: 4}}"
CURATION = """
title: Draws
seed: 1
sources: [{data: sop}]
rows: [{name: some}, {name: others}]
"""


@pytest.fixture
def elsewhere(world: World) -> World:
    rows = [(f"{label}/{i}.jpg", "more", label, "tools", "train", "train") for label in "ab" for i in range(6)]
    rows += [("a/9.jpg", "more", "a", "tools", "test", "both")]
    folder = world.workspace.data_root / "more"
    folder.mkdir()
    pl.DataFrame(rows, COLUMNS, orient="row").write_csv(folder / "manifest.csv")
    world.write_store()
    with StoreWriter(world.workspace.store("more", "descriptor"), find_backbone("descriptor").spec()) as writer:
        ids = [image for image, *_ in rows]
        features = np.random.default_rng(3).normal(size=(len(ids), 16))
        writer.add(Rows(ids, features, np.full((len(ids), 2), 64)), [])
        writer.finish()
    world.recipe.path.write_text(f"{RECIPE}  {ELSEWHERE}\n  {HERE}\n")
    return World(read_recipe(world.recipe.path), world.workspace, world.images)


def test_a_row_is_trained_on_other_data_and_tested_on_the_recipes(elsewhere: World):
    bench = Bench(elsewhere.recipe, elsewhere.workspace)
    of = {row.name: bench.features[row.features_name] for row in elsewhere.recipe.rows}
    assert of["Elsewhere"].frame("train")["domain"].unique().to_list() == ["tools"]
    assert of["Elsewhere"].frame("test")["image"].to_list() == of["Here"].frame("test")["image"].to_list()
    assert of["Here"] is of["Full"]
    sweep(bench.runs(), "cpu")
    table = build_table(Bench(elsewhere.recipe, elsewhere.workspace))
    assert all(row.done == row.planned for row in table.rows)
    here, there = (next(row for row in table.rows if row.name == name) for name in ("Here", "Elsewhere"))
    assert here.cells.keys() == there.cells.keys() == {"Mean", "birds", "cars"}
    assert table.columns == ["Mean", "birds", "cars"]
    assert {run.path for run in bench.runs_of["Here"]}.isdisjoint(run.path for run in bench.runs_of["Elsewhere"])


def test_a_training_set_that_is_not_drawn_is_said_with_the_command_that_draws_it(elsewhere: World):
    curation = elsewhere.recipe.path.parent / "curation" / "draws.yaml"
    curation.parent.mkdir()
    curation.write_text(CURATION)
    text = elsewhere.recipe.path.read_text()
    for names, commands in (
        (["some"], [f"probe data curate {curation} --row some"]),
        (["some", "others"], [f"probe data curate {curation}"]),
    ):
        rows = "".join(f"\n  - {{name: {name}, train: {name}, backbone: descriptor}}" for name in names)
        elsewhere.recipe.path.write_text(text.rstrip() + rows)
        table = build_table(Bench(read_recipe(elsewhere.recipe.path), elsewhere.workspace))
        assert f"not drawn yet: {', '.join(names)}" in table.missing
        assert [command.split(" --data-root")[0] for command in table.needs[:-2]] == commands
        assert table.needs[-2].startswith(f"probe extract small more {' '.join(names)} --backbone descriptor")


def test_the_benchmarks_own_training_images_are_left_out_and_labels_bear_their_source():
    rows = [
        ("a", "s", "1", "d", "train", "train"),
        ("b", "s", "1", "d", "val", "both"),
        ("c", "s", "1", "d", "test", "both"),
    ]
    more = [("a", "t", "1", "e", "train", "train"), ("b", "t", "1", "e", "test", "both")]
    frames = [pl.DataFrame(part, COLUMNS, orient="row") for part in (rows, more)]
    joined = with_training(Manifest(frames[0]), Manifest(frames[1])).frame
    assert joined.select("source", "image", "label").rows() == [("t", "a", "t/1"), ("s", "b", "s/1"), ("s", "c", "s/1")]
    with pytest.raises(UsageError, match="keep one of them"):
        with_training(Manifest(frames[0], {"s": Path("x")}), Manifest(frames[0], {"s": Path("y")}))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            "{name: A, printed: As printed, column: Meen}",
            "column: 'As printed' has no printed 'Meen'; did you mean 'Mean'?",
        ),
        ("{name: A, column: Mean}", "name their row with `printed`"),
        ("{name: A, printed: As printed, column: {birds: bird}}", "has no printed 'bird'; did you mean 'birds'?"),
        ("{name: A, trian: more}", "unknown key 'trian'; did you mean 'train'?"),
    ],
)
def test_a_mistaken_row_is_an_error_before_any_work(world: World, row: str, says: str):
    world.recipe.path.write_text(f"{RECIPE}  - {row}\n")
    with pytest.raises(UsageError) as raised:
        read_recipe(world.recipe.path)
    assert says in str(raised.value)


def test_a_printed_column_may_stand_with_the_mean(world: World):
    world.recipe.path.write_text(
        f"{RECIPE}  - {{name: A, printed: As printed, column: {{Mean: Mean, print: birds}}}}\n"
    )
    row = build_table(Bench(read_recipe(world.recipe.path), world.workspace)).rows[-1]
    assert {column: list(values) for column, values in row.printed.items()} == {"Mean": ["mMP@5"], "print": ["R@1"]}
