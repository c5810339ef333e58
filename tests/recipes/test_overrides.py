"""What the command line changes of a recipe: typed, checked, and never ignored."""

from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.fit import ClosedFormConfig, Epochs, TrainedConfig, Training
from probe.recipes.overrides import Overrides, parse_seeds
from probe.recipes.recipe import Recipe, read_recipe
from tests.recipes.test_recipe import RECIPE, recipe_file


def changed(folder: Path, *settings: str, seeds: str | None = None, rows: tuple[str, ...] = ()) -> Recipe:
    return read_recipe(recipe_file(folder, RECIPE), Overrides.parse(settings, seeds, rows))


def test_a_setting_reaches_every_row_that_has_no_value_of_its_own(tmp_path: Path, capsys) -> None:
    recipe = changed(tmp_path, "head.dropout=0.3", "loss.margin=0.2", "training.epochs=7", "training.optimizer=adamw")
    trained, no_dropout, centres, untrained = recipe.rows
    assert [row.runs[0].head.model_dump().get("dropout") for row in recipe.rows] == [0.3, 0.0, 0.3, None]
    for row in (trained, no_dropout, centres):
        run = row.runs[0]
        assert isinstance(run, TrainedConfig)
        assert (run.training.length, run.training.optimizer.kind) == (Epochs(epochs=7), "adamw")
        assert run.loss.model_dump()["margin"] == 0.2
    assert isinstance(untrained.runs[0], ClosedFormConfig)
    assert "row 'No dropout' keeps its own head.dropout: 0.0" in capsys.readouterr().err


def test_a_setting_that_only_some_kinds_have_goes_to_those(tmp_path: Path) -> None:
    recipe = changed(tmp_path, "loss.sub_centers=5")
    kinds = [row.runs[0].model_dump().get("loss", {}) for row in recipe.rows]
    assert [loss.get("sub_centers") for loss in kinds] == [None, None, 5, None]


def test_a_setting_may_change_the_kind(tmp_path: Path) -> None:
    recipe = changed(tmp_path, "loss.kind=sub-center-arcface", "loss.sub_centers=2")
    found = recipe.rows[0].runs[0].model_dump()["loss"]
    assert [found[key] for key in ("kind", "margin", "sub_centers")] == ["sub-center-arcface", 0.4, 2]


def test_a_schedule_that_is_set_needs_no_word_on_the_options_of_the_other(tmp_path: Path) -> None:
    text = RECIPE.replace("training: {epochs: 3}", "training: {epochs: 3, lr_min: 0.002}")
    recipe = read_recipe(recipe_file(tmp_path, text), Overrides.parse(["training.schedule=constant"], None, []))
    run = recipe.rows[0].runs[0]
    assert isinstance(run, TrainedConfig)
    assert run.training == Training(epochs=3, schedule="constant")


def test_a_changed_recipe_has_other_runs_and_says_how_to_get_them(tmp_path: Path) -> None:
    recipe = changed(tmp_path, "loss.margin=0.2", seeds="0-1", rows=("Trained",))
    assert recipe.options == ("--set", "loss.margin=0.2", "--seeds", "0-1", "--row", "Trained")
    assert recipe.rows[0].runs != read_recipe(recipe_file(tmp_path, RECIPE)).rows[0].runs


def test_without_changes_a_recipe_is_as_it_is_written(tmp_path: Path) -> None:
    assert changed(tmp_path) == read_recipe(recipe_file(tmp_path, RECIPE))


def test_seeds_replace_the_defaults_and_a_row_keeps_its_own(tmp_path: Path, capsys) -> None:
    recipe = changed(tmp_path, seeds="3-4,9")
    assert [[run.seed for run in row.runs] for row in recipe.rows] == [[3, 4, 9], [3, 4, 9], [7], [0]]
    said = capsys.readouterr().err
    assert "row 'Three centres' keeps its own seeds: 7" in said
    assert f"row '{recipe.rows[-1].name}' has one run, since nothing of it is drawn" in said


def test_rows_are_chosen_by_name_in_the_recipes_order(tmp_path: Path) -> None:
    recipe = changed(tmp_path, rows=("Untrained", "Trained"))
    assert [row.name for row in recipe.rows] == ["Trained", "Untrained"]


@pytest.mark.parametrize(("text", "seeds"), [("0", [0]), ("0-4", [0, 1, 2, 3, 4]), ("0,2,5", [0, 2, 5]),
                                             ("0-1,7", [0, 1, 7]), ("3-3", [3])])  # fmt: skip
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "4-0", "0,,1", "1.5", "0-2,1", "²"])
def test_other_seeds_are_a_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


def test_a_range_without_end_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="more than 10,000 seeds"):
        parse_seeds("0-99999999999")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss.margn=0.4", r"there is no 'loss.margn'; did you mean 'loss.margin'"),
        ("los.margin=0.4", r"did you mean 'loss.margin'"),
        ("training=3", r"there is no 'training'"),
        ("loss.margin", r"there is no value"),
        ("=3", r"there is no ''"),
        ("seeds=3", r"write --seeds 3"),
        ("loss.margin=[", r"is not a YAML value"),
        ("loss.margin=9", r"margin: Input should be less than"),
        ("loss.margin=wide", r"valid number"),
        ("training.samples=100", r"give `epochs` or `samples`, not both"),
        ("loss.kind=nothing", r"nothing"),
    ],
)
def test_a_setting_that_cannot_be_is_a_clear_error(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        changed(tmp_path, setting)


def test_a_setting_that_no_row_takes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set loss.sub_centers=5: no row of .* takes it"):
        changed(tmp_path, "loss.sub_centers=5", rows=("Trained",))
    with pytest.raises(UsageError, match=r"no row of .* takes it"):
        changed(tmp_path, "loss.margin=0.2", rows=("Untrained",))


def test_a_row_that_there_is_not_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--row Traned: .* has no such row; did you mean 'Trained'"):
        changed(tmp_path, rows=("Traned",))


def test_what_a_row_reads_can_be_set_too(tmp_path: Path) -> None:
    recipe = changed(tmp_path, "append=[width, aspect]")
    assert [row.runs[0].append for row in recipe.rows] == [("width", "aspect")] * 4
