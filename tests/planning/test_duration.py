"""A run's time is that of its steps, by measured ones on the same device, and of its searches, by those of its data."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from probe.fit import TrainedConfig, read_run_config
from probe.planning import Inventory, Planner
from probe.planning.duration import Estimate, Estimator, PlannedRun
from probe.planning.machine import Machine, find_machine, this_machine
from probe.planning.run_time import modelled_time
from probe.planning.size import DataSize, SearchSize, TrainingSize
from probe.recipes import read_recipe
from probe.runs import Run, RunIndex, sweep
from tests.report.world import World

CPU = this_machine()
DIM = 768
IMAGES = 12_800  # 100 steps an epoch
NOTHING = {"mean": {}, "domains": {}}


def config(loss: str = "arcface", **changes: Any) -> TrainedConfig:
    given = {"backbone": "a", "head": {"kind": "linear", "dim": 64}, "loss": {"kind": loss}, "training": {"epochs": 10}}
    found = read_run_config(given | changes)
    assert isinstance(found, TrainedConfig)
    return found


def size(classes: int) -> DataSize:
    return DataSize({"a": TrainingSize(IMAGES, classes)}, SearchSize(0, 0), SearchSize(0, 0))


def modelled_step(of: TrainedConfig, classes: int, machine: Machine = CPU) -> float:
    found = modelled_time(of, DIM, size(classes), machine)
    assert found
    return found.step


def finished(
    folder: Path,
    of: TrainedConfig,
    classes: int,
    step: float | None,
    gpu: str = "",
    rest: float = 0.0,
    manifest: str = "m",
) -> None:
    """A finished run, with steps of so many seconds, and `rest` for all else."""
    path = folder / f"run{len(list(folder.iterdir()))}"
    path.mkdir()
    metrics = {"training_images": IMAGES, "left_out": 0, "classes": classes, "dim": 64, "val": NOTHING}
    (path / "metrics.json").write_text(json.dumps(metrics | {"test": {"clean": {"merged": NOTHING}}}))
    features = {"dim": DIM, "spec": {"a": {}}}
    record = {"key": path.name, "config": of.model_dump(mode="json"), "features": features}
    (path / "config.yaml").write_text(yaml.safe_dump(record | {"inputs": {"manifest": manifest}}))
    (path / "history.jsonl").write_text(json.dumps({"epoch": 1, "samples": 1, "loss": 1, "lr": 1, "val": {}}))
    environment = {"device": "cuda" if gpu else "cpu", "gpu": gpu, "seconds_a_step": step}
    (path / "environment.json").write_text(json.dumps(environment | {"seconds": 1000 * (step or 1) + rest}))


def estimate(
    folder: Path, of: TrainedConfig, classes: int, machine: Machine = CPU, manifest: str | None = None
) -> Estimate:
    run = Run(of, {"manifest": manifest} if manifest else {}, folder)
    found = Estimator(RunIndex(folder), [], machine).runs([PlannedRun(run, DIM, size(classes))])
    assert found
    return found


def steps_of(folder: Path, of: TrainedConfig, classes: int, machine: Machine = CPU) -> float:
    """Estimated seconds of a step."""
    return (estimate(folder, of, classes, machine).seconds - 2 * machine.seconds_a_run) / 1000


def test_at_a_measured_number_of_classes_a_step_takes_what_was_measured(tmp_path: Path):
    for classes, step in ((1_000, 0.004), (10_000, 0.02), (100_000, 0.3)):
        finished(tmp_path, config(), classes, step)
    assert steps_of(tmp_path, config(), 10_000) == pytest.approx(0.02)
    assert steps_of(tmp_path, config(), 100_000) == pytest.approx(0.3)
    assert estimate(tmp_path, config(), 10_000).basis == f"as finished work took on {CPU.name}"


def test_between_measured_steps_it_is_interpolated(tmp_path: Path):
    for classes, ratio in ((2_000, 2.0), (50_000, 0.5)):
        finished(tmp_path, config(), classes, ratio * modelled_step(config(), classes))
    found = [steps_of(tmp_path, config(), classes) for classes in (2_000, 5_000, 10_000, 20_000, 50_000)]
    ratios = [
        step / modelled_step(config(), classes)
        for step, classes in zip(found, (2_000, 5_000, 10_000, 20_000, 50_000), strict=True)
    ]
    assert ratios == sorted(ratios, reverse=True)
    assert found == sorted(found)
    assert (ratios[0], ratios[-1]) == (pytest.approx(2), pytest.approx(0.5))


def test_classes_of_three_centres_are_as_three_times_as_many_of_one(tmp_path: Path):
    finished(tmp_path, config(), 90_000, 0.1)
    three = config("sub-center-arcface").model_copy(
        update={"loss": config("sub-center-arcface").loss.model_copy(update={"sub_centers": 3})}
    )
    assert steps_of(tmp_path, three, 30_000) == pytest.approx(0.1)


def test_the_same_loss_goes_before_others_where_it_was_measured_at_such_a_size(tmp_path: Path):
    finished(tmp_path, config("arcface"), 50_000, 0.05)
    finished(tmp_path, config("curricularface"), 50_000, 0.2)
    finished(tmp_path, config("curricularface"), 100, 0.2)
    assert steps_of(tmp_path, config("curricularface"), 50_000) == pytest.approx(0.2)
    assert steps_of(tmp_path, config("arcface"), 50_000) == pytest.approx(0.05)
    few = estimate(tmp_path, config("arcface"), 100)  # measured with another loss alone
    assert few.basis == f"as finished work took on {CPU.name}"
    assert steps_of(tmp_path, config("arcface"), 100) == pytest.approx(0.2)


def test_far_beyond_what_was_measured_it_is_said_that_other_runs_tell(tmp_path: Path):
    finished(tmp_path, config(), 1_000, 3 * modelled_step(config(), 1_000))
    found = estimate(tmp_path, config(), 300_000)
    assert found.basis == f"as other runs took on {CPU.name}"
    assert steps_of(tmp_path, config(), 300_000) == pytest.approx(3 * modelled_step(config(), 300_000))


@pytest.mark.parametrize(
    ("machine", "gpu", "tells"),
    [
        (find_machine("h100"), "NVIDIA H100 80GB HBM3", True),
        (find_machine("h100"), "NVIDIA H200", False),
        (find_machine("h100"), "", False),
        (find_machine("l4"), "NVIDIA L40", False),
        (find_machine("a100"), "NVIDIA A100-SXM4-80GB", True),
        (find_machine("a10"), "NVIDIA A100-SXM4-80GB", False),
        (find_machine("rtx4090"), "NVIDIA GeForce RTX 4090", True),
        (find_machine("cpu"), "", False),
        (CPU, "NVIDIA H200", False),
        (CPU, "", True),
    ],
)
def test_steps_tell_of_the_device_that_they_were_measured_on_and_of_no_other(
    machine: Machine, gpu: str, tells: bool, tmp_path: Path
):
    finished(tmp_path, config(), 10_000, 0.7, gpu)
    found = estimate(tmp_path, config(), 10_000, machine)
    assert found.basis == (f"as finished work took on {machine.name}" if tells else machine.speed)
    assert (steps_of(tmp_path, config(), 10_000, machine) == pytest.approx(0.7)) == tells


def test_the_searches_take_what_those_of_the_same_data_took(tmp_path: Path):
    finished(tmp_path, config(), 10_000, 0.01, rest=500.0)
    assert estimate(tmp_path, config(), 10_000, manifest="m").seconds == pytest.approx(10 + 500)
    assert estimate(tmp_path, config(), 10_000, manifest="other").seconds == pytest.approx(10 + 2 * CPU.seconds_a_run)


def test_runs_of_before_steps_were_measured_and_damaged_ones_tell_nothing(tmp_path: Path):
    finished(tmp_path, config(), 10_000, None, rest=1e6)
    finished(tmp_path, config(), 10_000, 5.0)
    (tmp_path / "run1" / "history.jsonl").write_text("[")
    found = estimate(tmp_path, config(), 10_000, manifest="m")
    assert found.basis == CPU.speed


def test_a_run_that_was_made_here_tells_of_the_next(world: World):
    world.recipe.path.write_text(RECIPE)
    world.write_store()
    inventory = Inventory(read_recipe(world.recipe.path), world.workspace)
    sweep(inventory.runs(), "cpu")
    [run] = inventory.runs_of["ArcFace"]
    took = run.directory.environment
    assert took.seconds_a_step
    assert took.seconds
    assert 0 < took.seconds_a_step * 12 < took.seconds  # 48 images, 8 a batch, 2 epochs
    world.recipe.path.write_text(RECIPE.replace("seeds: [0]", "seeds: [0, 1]"))
    planner = Planner(world.workspace)
    planned = planner.planned_runs(Inventory(read_recipe(world.recipe.path), world.workspace))
    found = planner.fit_time(list(planned.values()))
    assert found
    assert found.basis == f"as finished work took on {CPU.name}"
    assert found.seconds == pytest.approx(took.seconds, rel=0.01)


RECIPE = """
title: A table
data: small
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 2, batch: 8}
  seeds: [0]
rows:
  - {name: ArcFace}
"""
