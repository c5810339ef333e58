"""A benchmark without training or validation images is scored: a row reads the splits that it has a use for."""

from dataclasses import replace

import polars as pl
import pytest

from probe.errors import UsageError
from probe.planning import Inventory, fit_recipe
from probe.recipes import read_recipe
from probe.report.table import build_table
from probe.runs import SweepError
from tests.report.world import World

RECIPE = """
title: A benchmark
data: small
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 1, batch: 8}
  seeds: [0]
rows:
  - {name: Full, head: {kind: full-dimension}}
  - {name: PCA, head: {kind: pca-whitening, dim: 4}}
  - {name: ArcFace}
"""


def with_splits(world: World, *splits: str, recipe: str = RECIPE) -> World:
    """The world, of which these splits alone are left, their features too."""
    file = world.workspace.data_root / "small" / "manifest.csv"
    left = pl.read_csv(file).filter(pl.col("split").is_in(splits))
    left.write_csv(file)
    world.recipe.path.write_text(recipe)
    found = replace(world, recipe=read_recipe(world.recipe.path), images=left["image"].to_list())
    found.write_store()
    return found


def inventory_of(world: World) -> Inventory:
    return Inventory(world.recipe, world.workspace)


def test_a_row_reads_the_splits_that_it_has_a_use_for(world: World):
    inventory = inventory_of(with_splits(world, "train", "val", "test"))
    splits = {row.name: inventory.features[row.features_key].splits for row in inventory.recipe.rows}
    assert splits == {"Full": ("test",), "PCA": ("train", "test"), "ArcFace": ("train", "val", "test")}


def test_where_there_are_test_images_alone_the_untrained_row_is_scored_and_the_others_get_one_sentence(world: World):
    at = with_splits(world, "test")
    with pytest.raises(
        SweepError, match=r"^PCA, ArcFace: .* has no training images; name data that have some with `tr"
    ):
        fit_recipe(inventory_of(at), "cpu")
    table = build_table(inventory_of(at))
    assert [row.done for row in table.rows] == [1, 0, 0]
    assert table.commands == []
    [sentence] = table.missing
    assert sentence.startswith("PCA, ArcFace: ")


def test_without_a_validation_split_the_epoch_is_selected_on_a_tenth_of_the_training_classes(world: World):
    inventory = inventory_of(with_splits(world, "train", "test"))
    fit_recipe(inventory, "cpu")
    row = inventory.recipe.rows[-1]
    frame = inventory.features[row.features_key].manifest.frame
    classes = {split: set(rows["label"]) for (split,), rows in frame.partition_by("split", as_dict=True).items()}
    assert (len(classes["train"]), len(classes["val"])) == (10, 2)  # one of six in each of two domains
    [run] = inventory.runs_of["ArcFace"]
    assert run.scores.classes == 10
    assert run.scores.val
    assert run.scores.val.domains.keys() == {"birds", "cars"}
    notes = build_table(inventory).notes
    assert any("ArcFace: epochs are selected on classes that train nothing (`training.val`)" in note for note in notes)


def test_the_rule_of_validation_is_in_the_runs_key(world: World):
    at = with_splits(world, "train", "test")
    keys = set()
    for training in ("", ", val: 0.4", ", val: 0.4, val_seed: 1", ", val_seed: 2"):
        at.recipe.path.write_text(RECIPE.replace("batch: 8", f"batch: 8{training}"))
        inventory = inventory_of(replace(at, recipe=read_recipe(at.recipe.path)))
        keys |= {run.key for run in inventory.runs_of["ArcFace"]}
    assert len(keys) == 4


def test_a_share_that_is_asked_for_takes_the_place_of_the_datas_own_validation(world: World):
    at = with_splits(world, "train", "val", "test", recipe=RECIPE.replace("batch: 8", "batch: 8, val: 0.5"))
    inventory = inventory_of(at)
    frame = inventory.features[inventory.recipe.rows[-1].features_key].manifest.frame
    assert frame.filter(split="val")["label"].n_unique() == 6
    assert set(frame.filter(split="val")["image"]) < set(
        pl.read_csv(at.workspace.data_root / "small/manifest.csv").filter(split="train")["image"]
    )


def test_where_nothing_is_to_be_scored_the_split_that_mends_it_is_named(world: World):
    with pytest.raises(UsageError, match="no test images to score; give some of its rows the split `test`"):
        inventory_of(with_splits(world, "train", "val")).require_complete()


def test_an_untrained_row_needs_no_features_of_training_images_and_no_training_set(world: World):
    at = with_splits(world, "train", "test", recipe=RECIPE.replace("defaults:", "defaults:\n  train: absent"))
    at.workspace.store("small", "descriptor").unlink()
    frame = pl.read_csv(at.workspace.data_root / "small" / "manifest.csv")
    replace(at, images=frame.filter(split="test")["image"].to_list()).write_store()
    inventory = inventory_of(at)
    assert list(inventory.features) == ["descriptor, test alone"]
    assert "not drawn yet: absent" in inventory.missing


def test_a_fixed_head_that_is_told_to_train_is_an_error(world: World):
    world.recipe.path.write_text(RECIPE.replace("{name: Full,", "{name: Full, train: more,"))
    with pytest.raises(UsageError, match="row 'Full': train: head 'full-dimension' is fitted on no images"):
        read_recipe(world.recipe.path)


def test_a_configuration_says_which_splits_it_reads(world: World):
    world.recipe.path.write_text(RECIPE)
    full, pca, arcface = (row.runs[0] for row in read_recipe(world.recipe.path).rows)
    assert (full.splits, pca.splits, arcface.splits) == (("test",), ("train", "test"), ("train", "val", "test"))
