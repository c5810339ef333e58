"""Rows that are trained on other data than they are tested on, and what is said when that is not here."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_cache import Failure, Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.data.curated import curate, write_curated
from probe.data.curation import read_curations
from probe.data.manifest import COLUMNS, Manifest
from probe.data.resolve import known_data
from probe.data.selection import with_training
from probe.errors import UsageError
from probe.extract.speed import Speed, record
from probe.fit.domains import require_sampler
from probe.planning.extraction import extractions
from probe.planning.inputs import Inputs
from probe.planning.inventory import Inventory
from probe.planning.machine import this_machine
from probe.planning.status import Planner
from probe.recipes.recipe import read_recipe
from probe.report.table import build_table
from probe.runs import sweep
from probe.workspace import Workspace
from tests.data.published import PUBLISHED
from tests.report.world import RECIPE, World

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.slow
def test_a_row_is_trained_on_other_data_and_tested_on_the_recipes(elsewhere: World):
    inventory = Inventory(elsewhere.recipe, elsewhere.workspace)
    of = {row.name: inventory.features[row.features_key] for row in elsewhere.recipe.rows}
    assert of["Elsewhere"].frame("train")["domain"].unique().to_list() == ["tools"]
    assert of["Elsewhere"].frame("test")["image"].to_list() == of["Here"].frame("test")["image"].to_list()
    assert of["Here"].splits == of["Elsewhere"].splits == ("train", "test")
    assert of["Full"].splits == ("test",)
    sweep(inventory.runs(), "cpu")
    table = build_table(Inventory(elsewhere.recipe, elsewhere.workspace))
    assert all(row.done == row.planned for row in table.rows)
    here, there = (next(row for row in table.rows if row.name == name) for name in ("Here", "Elsewhere"))
    assert here.cells.keys() == there.cells.keys() == {"Mean", "birds", "cars"}
    assert table.columns == ["Mean", "birds", "cars"]
    assert {run.path for run in inventory.runs_of["Here"]}.isdisjoint(
        run.path for run in inventory.runs_of["Elsewhere"]
    )


def test_a_training_set_that_is_not_drawn_is_said_with_the_command_that_draws_it(elsewhere: World):
    curation = elsewhere.recipe.path.parent / "curation" / "draws.yaml"
    curation.parent.mkdir()
    curation.write_text(CURATION)
    text = elsewhere.recipe.path.read_text()
    for names, commands in (
        (["some"], [f"probe data curate {curation} --row some"]),
        (["some", "others"], [f"probe data curate {curation}"]),
    ):
        rows = "".join(
            f"\n  - {{name: {name}, train: {name}, head: {{kind: pca-whitening, dim: 4}}}}" for name in names
        )
        elsewhere.recipe.path.write_text(text.rstrip() + rows)
        table = build_table(Inventory(read_recipe(elsewhere.recipe.path), elsewhere.workspace))
        assert f"not drawn yet: {', '.join(names)}" in table.missing
        assert without_places(table.commands[:-1]) == [
            *commands,
            "probe extract small --backbone descriptor --split train --split test",
            "probe extract more --backbone descriptor --split train",
            f"probe extract {' '.join(names)} --backbone descriptor",
        ]


FIXED = "- {name: Fixed, head: {kind: average-pooling, dim: 4}}"
TRAINED = "- {name: Trained, head: {kind: linear}, loss: {kind: arcface}}"
TRAINED_ELSEWHERE = TRAINED.replace("Trained,", "Trained, train: more,")
DRAWN = ELSEWHERE.replace("Elsewhere", "DrawnFigure").replace("more", "m4d-35k")


@pytest.mark.parametrize(
    ("rows", "data", "commands"),
    [
        ([FIXED], "small", ["small --split test"]),
        ([FIXED], "uned", ["uned --split test"]),
        ([ELSEWHERE], "small", ["more --split train", "small --split test"]),
        ([ELSEWHERE, HERE], "small", ["more --split train", "small --split train --split test"]),
        ([DRAWN, ELSEWHERE], "uned", ["m4d-35k", "uned --split test", "more --split train"]),
        ([TRAINED], "uned", ["uned"]),
        ([TRAINED_ELSEWHERE], "uned", ["more --split train", "uned --split val --split test"]),
        ([TRAINED], "sop", ["sop"]),
        ([TRAINED_ELSEWHERE], "sop", ["more --split train", "sop --split test"]),
        ([FIXED, TRAINED], "gpr1200", ["gpr1200"]),
    ],
)
def test_only_the_splits_that_rows_read_are_to_be_extracted(
    elsewhere: World, rows: list[str], data: str, commands: list[str]
):
    assert [command.replace(" --backbone descriptor", "") for command in to_extract(elsewhere, rows, data)] == [
        f"probe extract {words}" for words in commands
    ]


def test_through_a_view_only_the_splits_that_it_serves_are_to_be_extracted(elsewhere: World):
    row = HERE.replace("Here,", "Here, backbone: siglip-so400m-14-384, views: true,")
    start = "probe extract small --backbone siglip-so400m-14-384"
    assert to_extract(elsewhere, [row], "small") == [
        f"{start}@train --split train",
        f"{start}@test --split test",
    ]


def test_the_time_is_that_of_the_images_that_are_to_be_extracted_and_lacked(elsewhere: World):
    workspace = elsewhere.workspace
    store = workspace.store("small", "descriptor")
    store.unlink()
    record(workspace.cache, Speed("descriptor", "cpu", 1, 60.0))
    to_extract(elsewhere, [ELSEWHERE], "small")
    inventory = Inventory(read_recipe(elsewhere.recipe.path), workspace)
    basis = f"as finished work took on {this_machine().name}"
    times = list(Planner(workspace).status(inventory).times.values())
    assert [str(time) for time in times[:2]] == [f"less than a minute, {basis}", f"about 32 min, {basis}"]
    with StoreWriter(store, find_backbone("descriptor").spec()) as writer:  # of training, and eight of the test images
        ids = [image for image in elsewhere.images if "birds0/" in image or "birds8/" in image or "birds9/" in image]
        writer.add(Rows(ids[:-1], np.ones((len(ids) - 1, 16)), np.full((len(ids) - 1, 2), 64)), [Failure(ids[-1], "-")])
        writer.finish()
    inventory = Inventory(inventory.recipe, workspace)
    assert str(list(Planner(workspace).status(inventory).times.values())[1]) == f"about 24 min, {basis}"


def to_extract(world: World, rows: list[str], data: str) -> list[str]:
    """The commands of a recipe of these rows over the data, without the options that say where things are."""
    rows_of_world = "".join(f"  {row}\n" for row in rows)
    start = RECIPE[: RECIPE.index("  - {name: Full")].replace("data: small", f"data: {data}")
    world.recipe.path.write_text(start + rows_of_world)
    recipe = read_recipe(world.recipe.path)
    here = Inventory(recipe, world.workspace).data
    return without_places(
        extraction.command(world.workspace)
        for backbone in recipe.backbones
        for extraction in extractions(recipe, backbone, here)
    )


def without_places(commands: Iterable[str]) -> list[str]:
    return [command.split(" --data-root")[0] for command in commands]


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


def test_uneds_pair_trains_on_gldv2_and_the_met_alone_beside_the_specialist_of_table_s4(tmp_path: Path):
    PUBLISHED["uned"].write(tmp_path)
    recipes = {name: read_recipe(ROOT / "recipes" / f"{name}.yaml") for name in ("uned-gldv2-met", "uned_supp_s4")}
    [curation] = read_curations(ROOT / "recipes" / "curation" / "gldv2-met.yaml")
    curated = curate(curation, lambda name: known_data(name, tmp_path))
    write_curated(curated, tmp_path / "gldv2-met", tmp_path)
    inputs = Inputs(Workspace(tmp_path, tmp_path / "features", tmp_path / "out"))
    uned = inputs.data("uned").frame.select("source", "image", "domain", "split")
    specialists = {row.name: row.runs for row in recipes["uned_supp_s4"].rows}
    for row in recipes["uned-gldv2-met"].rows:
        if row.train is None:
            assert row.runs == specialists[row.name]
            continue
        read = inputs.rows_of("uned", row).frame.select(uned.columns)
        pair = pl.col("domain").is_in(["gldv2", "met"])
        assert set(read.rows()) == set(uned.filter(pair | (pl.col("split") != "train")).rows())
        assert row.training
        require_sampler(row.training.model_copy(update={"batch": 1}), {"gldv2": 1, "met": 2})


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
    row = build_table(Inventory(read_recipe(world.recipe.path), world.workspace)).rows[-1]
    assert {column: list(values) for column, values in row.printed.items()} == {"Mean": ["mMP@5"], "print": ["R@1"]}
