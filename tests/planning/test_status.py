"""What a table says beyond its numbers: what is stale, what is missing, and about how long that takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from probe.backbones.catalogue import Backbone, find_backbone
from probe.backbones.row import BackboneRow
from probe.extract.speed import Speed, read_speeds, record
from probe.fit import read_run_config
from probe.planning.duration import Estimator, PlannedRun, operations_an_image, rounded
from probe.planning.inventory import Inventory
from probe.planning.machine import find_machine, this_machine
from probe.planning.run_time import modelled_time
from probe.planning.size import DataSize, SearchSize, TrainingSize, printed_size, size_of_manifest
from probe.planning.status import Planner
from probe.recipes.overrides import Overrides
from probe.recipes.recipe import read_recipe
from probe.report.render.markdown import markdown
from probe.report.table import Table, build_table
from probe.runs import Run, RunIndex, sweep
from probe.runs import run as run_module
from probe.runs.sealed import seal
from tests.report.test_table import terminal_text
from tests.report.world import RECIPE, World

HERE_NOW = this_machine()
DONE_HERE = f"as finished work took on {HERE_NOW.name}"


def table_of(world: World) -> Table:
    inventory = Inventory(world.recipe, world.workspace)
    return build_table(inventory, Planner(world.workspace).status(inventory))


def fitted(world: World) -> World:
    world.write_store()
    sweep(Inventory(world.recipe, world.workspace).runs(), "cpu")
    return world


def changed(world: World, before: str, after: str) -> World:
    world.recipe.path.write_text(RECIPE.replace(before, after))
    return replace(world, recipe=read_recipe(world.recipe.path))


def test_a_finished_table_is_neither_stale_nor_timed(world: World):
    table = table_of(fitted(world))
    assert (table.stale, table.times, table.commands) == ([], {}, [])


def test_runs_of_other_features_are_stale(world: World):
    fitted(world)
    store = world.workspace.store("small", "descriptor")
    store.unlink()
    spec = find_backbone("descriptor").spec()
    world.write_store(spec | {"packages": spec["packages"] | {"numpy": "1.0"}})
    assert table_of(world).stale == ["stale: 4 run(s) of Full, Random were made with other features"]


def test_runs_whose_features_are_gone_are_stale(world: World):
    fitted(world)
    world.workspace.store("small", "descriptor").unlink()
    [line] = table_of(world).stale
    assert line == "stale: 4 run(s) of Full, Random were made with features or data that are not here any more"


def test_runs_of_another_recipe_make_nothing_stale(world: World):
    fitted(world)
    world.workspace.store("small", "descriptor").unlink()
    other = world.recipe.path.with_name("other.yaml")
    other.write_text(RECIPE)
    assert not table_of(replace(world, recipe=read_recipe(other))).stale


def test_runs_of_another_manifest_are_stale(world: World):
    fitted(world)
    manifest = world.workspace.data_root / "small" / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    table = table_of(world)
    assert table.stale == ["stale: 4 run(s) of Full, Random were made with another manifest"]
    assert table.stale[0] in terminal_text(table)
    assert table.stale[0] in markdown(table)


def test_runs_of_a_configuration_that_has_changed_are_stale(world: World):
    table = table_of(changed(fitted(world), "dim: 8", "dim: 4"))
    assert table.stale == ["stale: 3 run(s) of Random were made with another configuration (head.dim: 8, not 4)"]
    assert [row.done for row in table.rows] == [1, 0]


def test_what_the_command_line_changed_is_not_stale_in_the_recipe(world: World):
    world.write_store()
    overridden = read_recipe(world.recipe.path, Overrides.parse(["head.dim=4"], None, []))
    sweep(Inventory(overridden, world.workspace).runs(), "cpu")
    assert not table_of(world).stale


def test_runs_of_an_earlier_version_are_stale(world: World, monkeypatch: pytest.MonkeyPatch):
    fitted(world)
    now = run_module.code_of_run
    monkeypatch.setattr(run_module, "code_of_run", lambda config: now(config) | {"probe/losses/arcface.py": "another"})
    [line] = table_of(world).stale
    assert line == "stale: 4 run(s) of Full, Random were made by an earlier version of losses/arcface.py"


def test_runs_that_do_not_say_what_code_made_them_are_of_an_earlier_version(world: World):
    for file in fitted(world).workspace.runs.glob("*/config.yaml"):
        record = yaml.safe_load(file.read_text())
        del record["code"], record["sealed"]
        (file.parent / "digests.json").unlink()
        file.write_text(yaml.safe_dump(record | {"key": "0" * 64}))
        file.parent.rename(file.parent.with_name(file.parent.name[:-12] + "0" * 12))
    assert table_of(world).stale == ["stale: 4 run(s) of Full, Random were made by an earlier version of probe"]


def test_each_missing_command_has_a_time_or_says_that_none_is_known(world: World):
    table = table_of(world)
    extract, fit = table.commands
    assert table.times[extract] is None
    assert "how long is not known" in terminal_text(table)
    world.workspace.cache.mkdir()
    record(world.workspace.cache, Speed("descriptor", "cpu", 96, 480.0))
    table = table_of(world)
    assert str(table.times[extract]) == f"about 3 min, {DONE_HERE}"  # of the 32 test images
    assert f"# about 3 min, {DONE_HERE}\n{extract}" in markdown(table)
    assert table.times[fit]


def test_a_row_that_lacks_a_seed_takes_what_its_others_took(world: World):
    fitted(world)
    for file in world.workspace.runs.glob("*_random-projection_*/environment.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 600.0}))
        seal(file.parent)
    table = table_of(changed(world, "[0, 1, 2]", "[0, 1, 2, 3, 4]"))
    assert not table.stale
    assert str(table.times[table.commands[-1]]) == f"about 20 min, {DONE_HERE}"


def test_damaged_runs_are_no_ground_for_an_estimate(world: World):
    fitted(world)
    for file in world.workspace.runs.glob("*/environment.json"):
        file.write_text("{")
    for file in world.workspace.runs.glob("*/config.yaml"):
        file.write_text("- :")
    table = table_of(changed(world, "dim: 8", "dim: 4"))
    assert not table.stale
    assert f"less than a minute, {HERE_NOW.speed}" in terminal_text(table)


TRAINED = read_run_config(
    {
        "backbone": "a",
        "head": {"kind": "linear", "dim": 64},
        "loss": {"kind": "sub-center-arcface", "sub_centers": 3},
        "training": {"epochs": 10},
    }
)
SIZE = DataSize({"a": TrainingSize(128_000, 34_800)}, SearchSize(0, 0), SearchSize(0, 0))


def test_the_model_of_a_step_is_the_measured_one():
    """52 ms with 34,800 classes and three centres each (docs/losses.md), and 10,000 steps."""
    found = modelled_time(TRAINED, 768, SIZE, find_machine("cpu"))
    assert found
    assert found.steps == 10_000
    assert found.step == pytest.approx(0.052, rel=0.15)


def test_a_run_of_unknown_data_is_counted_and_not_guessed(tmp_path: Path):
    estimator = Estimator(RunIndex(tmp_path), [], HERE_NOW)
    known, unknown = (PlannedRun(Run(TRAINED, {}, tmp_path), 768, size) for size in (SIZE, None))
    assert str(estimator.runs([known, unknown])).endswith(f", {HERE_NOW.speed}, and 1 run(s) of unknown length")
    assert estimator.runs([unknown]) is None


def test_operations_are_those_of_a_plain_vision_transformer_and_of_nothing_else():
    vit = BackboneRow(library="timm", model="vit_base_patch16_224", px=224, params=85_798_656)
    assert (operations_an_image(vit) or 0) == pytest.approx(35e9, rel=0.1)  # 17.6 G multiply-adds
    assert operations_an_image(BackboneRow(library="timm", model="resnet50", px=224, params=1)) is None
    with_slash = BackboneRow(library="open_clip", model="ViT-L-14-336-quickgelu/openai", px=336, params=10)
    assert operations_an_image(with_slash) == pytest.approx(2 * 10 * 24 * 24)
    assert operations_an_image(with_slash.model_copy(update={"gflops": 3.5})) == 3.5e9


def test_a_measured_rate_carries_over_to_another_backbone_by_its_operations_and_never_to_another_device(tmp_path: Path):
    clip, convnext = find_backbone("clip-vit-b16"), find_backbone("openclip-convnext-b-256")
    speeds = [Speed("clip-vit-b16", "cpu", 100, 50.0, HERE_NOW.precision), Speed("clip-vit-b16", "cuda", 100, 0.5)]
    estimator = Estimator(RunIndex(tmp_path), speeds, HERE_NOW)
    found = estimator.extraction(convnext, 1000)
    assert found
    assert found.basis == f"as other backbones took on {HERE_NOW.name}"
    assert found.seconds == pytest.approx(500 * (convnext.row.gflops or 0) / (clip.row.gflops or 0))
    elsewhere = Estimator(RunIndex(tmp_path), speeds, find_machine("h100")).extraction(convnext, 1000)
    assert elsewhere
    assert elsewhere.basis == "at the estimated speed of an H100"
    assert elsewhere.seconds == pytest.approx(1000 * (convnext.row.gflops or 0) * 1e9 / find_machine("h100").operations)


def test_speeds_in_another_precision_tell_nothing(tmp_path: Path):
    other = "fp16" if HERE_NOW.precision != "fp16" else "bf16"
    estimator = Estimator(RunIndex(tmp_path), [Speed("clip-vit-b16", "cpu", 100, 50.0, other)], HERE_NOW)
    found = estimator.extraction(find_backbone("clip-vit-b16"), 1000)
    assert found
    assert found.basis == HERE_NOW.speed


def test_runs_of_a_gpu_are_no_ground_for_an_estimate_on_the_cpu(world: World):
    fitted(world)
    for file in world.workspace.runs.glob("*/environment.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"device": "cuda", "seconds": 600.0}))
    table = table_of(changed(world, "[0, 1, 2]", "[0, 1, 2, 3, 4]"))
    assert HERE_NOW.speed in str(table.times[table.commands[-1]])


def test_a_view_takes_as_long_as_the_other(tmp_path: Path):
    tmp_path.joinpath("speeds.jsonl").write_text("no line\n{}\n")
    record(tmp_path, Speed("clip@train", "cpu", 10, 20.0))
    estimator = Estimator(RunIndex(tmp_path), read_speeds(tmp_path), HERE_NOW)
    vit = Backbone("clip@test", BackboneRow(library="timm", model="resnet50", px=224))
    assert str(estimator.extraction(vit, 1_800)) == f"about 60 min, {DONE_HERE}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "less than a minute"),
        (50, "about 1 min"),
        (5_000, "about 83 min"),
        (7_000, "about 2 h"),
        (4e5, "about 5 days"),
        (1e8, "about 3 years"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds: float, text: str):
    assert rounded(seconds) == text


def test_the_size_of_a_data_set_that_is_not_here_is_the_printed_one(world: World):
    uned = printed_size("uned")
    assert uned
    assert uned.training(None) == (2_831_222, 316_446)
    assert uned.training("cars196") == (6_346, 78)
    assert uned.test == (241_986, 1_397_126)
    assert uned.images(["train", "test"]) == 2_831_222 + 1_397_126
    assert printed_size("nothing of the kind") is None


def test_the_size_of_a_manifest_is_counted(world: World):
    manifest = Inventory(world.recipe, world.workspace).manifest
    assert manifest
    size = size_of_manifest(manifest)
    assert size == DataSize(
        {"birds": TrainingSize(24, 6), "cars": TrainingSize(24, 6)}, SearchSize(16, 16), SearchSize(32, 32)
    )
