"""`--set` takes what the recipe's file takes, and what cannot be is told before anything is fitted."""

from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.fit import Samples, Separate, TrainedConfig
from probe.fit.samplers.shares import SpecialistSteps
from probe.recipes.overrides import Overrides
from probe.recipes.recipe import read_recipe

RECIPE = """
title: t
data: sample
defaults:
  backbone: descriptor
  head: {{kind: linear, dim: 8}}
  loss: {loss}
  training: {training}
  seeds: [{seed}]
rows:
  - {{name: Trained}}
"""


def run_of(folder: Path, *settings: str, seeds: str | None = None, **values: str) -> TrainedConfig:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(**({"loss": "{kind: arcface}", "training": "{epochs: 3}", "seed": "0"} | values)))
    run = read_recipe(path, Overrides.parse(settings, seeds, [])).rows[0].runs[0]
    assert isinstance(run, TrainedConfig)
    return run


@pytest.mark.parametrize("text", ["0.01", "1e-2", "1.0e-2", "1E-2", "10e-3"])
def test_a_number_may_be_written_as_in_the_file(text: str, tmp_path: Path) -> None:
    in_file = run_of(tmp_path, training=f"{{epochs: 3, lr: {text}}}").training
    assert run_of(tmp_path, f"training.lr={text}").training == in_file


def test_a_section_of_a_section_may_be_set(tmp_path: Path) -> None:
    loss = "{kind: dynamic-arcface, margins: {kind: power}}"
    found = run_of(tmp_path, "loss.margins={kind: power}", loss="{kind: dynamic-arcface}")
    assert found.loss == run_of(tmp_path, loss=loss).loss


def test_a_list_of_one_backbone_is_that_backbone(tmp_path: Path) -> None:
    assert run_of(tmp_path, "backbone=[descriptor]").backbone == "descriptor"


@pytest.mark.parametrize("setting", ["loss.scale=.inf", "training.lr=.inf", "training.weight_decay=.inf"])
def test_a_setting_without_end_is_refused(setting: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run_of(tmp_path, setting)


@pytest.mark.parametrize("setting", ["training.epochs=true", "training.lr=true", "head.dim=false", "loss.margin=yes"])
def test_truth_is_no_number(setting: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a number, not (true|false)"):
        run_of(tmp_path, setting)


def test_a_row_that_keeps_its_own_value_is_named_and_alone_does_not_take_a_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    rows = "rows:\n  - {name: Own, training: {lr: 0.5}}\n  - {name: Trained}\n"
    path.write_text(RECIPE.format(loss="{kind: arcface}", training="{}", seed="0").partition("rows:")[0] + rows)
    read_recipe(path, Overrides.parse(["training.lr=1e-2"], None, []))
    assert capsys.readouterr().err == "row 'Own' keeps its own training.lr: 0.5\n"
    with pytest.raises(UsageError, match=r"no row of .* takes it"):
        read_recipe(path, Overrides.parse(["training.lr=1e-2"], None, ["Own"]))


def test_a_seed_that_no_generator_takes_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run_of(tmp_path, seeds=str(1 << 64))
    with pytest.raises(UsageError):
        run_of(tmp_path, seed=str(1 << 64))


def test_samples_may_take_the_place_of_epochs(tmp_path: Path) -> None:
    found = run_of(tmp_path, "training.epochs=null", "training.samples=640", "training.validate_every=320").training
    assert found.length == Samples(samples=640, validate_every=320)


def test_a_sampler_and_a_classifier_may_be_set(tmp_path: Path) -> None:
    settings = ("training.sampler=specialist-steps", "training.specialist_steps={cars: 3, food: 1}")
    found = run_of(tmp_path, *settings, "training.classifier=separate", "training.domains=[food, cars]").training
    steps = {"cars": 3, "food": 1}
    assert found.sampler == SpecialistSteps.Config(specialist_steps=steps, domains=("food", "cars"))
    assert found.classifier == Separate(inactive="skip")
