"""What a recipe's `show` says is what its table shows; it changes no run."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from probe.errors import UsageError
from probe.metrics import INDEXES, SplitScores
from probe.planning.inventory import Inventory
from probe.recipes.display import Display, format_value, is_score
from probe.recipes.recipe import Recipe, read_recipe
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.table import build_table, oracle_scores
from probe.runs import Run, sweep
from tests.report.test_table import terminal_text
from tests.report.world import RECIPE, World

KEYS = ("row", "column", "metric")
MEASURED = ("measured", "std", "low", "high", "seeds")


def showing(world: World, show: str) -> Recipe:
    world.recipe.path.write_text(f"{RECIPE}\nshow: {show}\n")
    return read_recipe(world.recipe.path)


def test_a_table_shows_the_metrics_the_index_and_the_protocol_that_its_recipe_names(world: World):
    world.write_store()
    before = Inventory(world.recipe, world.workspace)
    sweep(before.runs(), "cpu")
    recipe = showing(world, "{metrics: [mAP@100, mMP@5], index: separate, protocol: official}")
    inventory = Inventory(recipe, world.workspace)
    assert [run.path for run, _ in inventory.runs()] == [run.path for run, _ in before.runs()]
    table = build_table(inventory)
    test = json.loads((inventory.runs()[0][0].path / "metrics.json").read_text())["test"]
    summary = test["official"]["separate"]
    assert summary["mean"] != test["clean"]["merged"]["mean"]
    full = table.rows[0]
    assert {metric: cell.mean for metric, cell in full.cells["Mean"].items()} == {
        metric: 100 * summary["mean"][metric] for metric in ("mAP@100", "mMP@5")
    }
    text = markdown(table)
    assert "| row | dim | seeds | Mean mAP@100 | Mean mMP@5 | " in text
    assert "Test split, separate index, official protocol" in text
    lines = list(csv.DictReader(io.StringIO(long_csv(table))))
    assert {line["metric"] for line in lines} == {"mAP@100", "mMP@5"}


def test_one_table_has_the_mean_of_the_separate_index_beside_that_of_the_merged_one(world: World):
    world.write_store()
    sweep(Inventory(world.recipe, world.workspace).runs(), "cpu")
    alone = {index: build_table(Inventory(showing(world, f"{{index: {index}}}"), world.workspace)) for index in INDEXES}
    both = build_table(Inventory(showing(world, "{index: both}"), world.workspace))
    assert both.columns == ["Mean", "Mean, separate", "birds", "cars"]
    for row, merged, separate in zip(both.rows, alone["merged"].rows, alone["separate"].rows, strict=True):
        assert row.cells == merged.cells | {f"{name}, separate": cell for name, cell in separate.cells.items()}
    for metric in both.recipe.display.metrics:
        for column, index in (("Mean", "merged"), ("Mean, separate", "separate")):
            assert both.significance[column, metric].tied == alone[index].significance["Mean", metric].tied
    for text in (markdown(both), terminal_text(both)):
        assert "merged index (separate where a column says so)" in text
    text = markdown(both)
    assert "| Mean mMP@5 | Mean R@1 | Mean, separate mMP@5 | Mean, separate R@1 | birds mMP@5 | " in text
    best = both.rows[0].cells["Mean, separate"]["R@1"].mean
    assert f"**{best:.1f}**" in text.splitlines()[4].split(" | ")[6]
    lines = {tuple(line[key] for key in KEYS): line for line in csv.DictReader(io.StringIO(long_csv(both)))}
    for index, suffix in (("merged", ""), ("separate", ", separate")):
        for line in csv.DictReader(io.StringIO(long_csv(alone[index]))):
            if index == "merged" or line["measured"]:
                of = lines[line["row"], line["column"] + suffix, line["metric"]]
                assert [of[key] for key in MEASURED] == [line[key] for key in MEASURED]


def test_by_default_a_table_shows_two_metrics_of_the_merged_index(world: World):
    assert world.recipe.display == Display(metrics=("mMP@5", "R@1"), index="merged", protocol="clean")
    assert "Test split, merged index, clean protocol; mMP@5 / R@1 in %" in markdown(
        build_table(Inventory(world.recipe, world.workspace))
    )


@pytest.mark.parametrize(
    ("show", "says"),
    [
        ("{metric: [R@1]}", "show: unknown key 'metric'; did you mean 'metrics'?"),
        ("{metrics: [mMP@10]}", "parameters; did you mean 'mAP@100'? (got 'mMP@10')"),
        ("{metrics: [R@1, R@1]}", "show.metrics: a metric is named twice"),
        ("{metrics: []}", "show.metrics"),
        ("{metrics: [MRR@10], protocol: official}", "show: the official protocol has no MRR@10; it has mAP@k, mMP@k"),
        ("{index: merge}", "show.index: not one of merged, separate, both; did you mean 'merged'? (got 'merge')"),
        ("{protocol: offical}", "show.protocol: not one of clean, official; did you mean 'official'? (got 'offical')"),
        ("{mark: [best, wurst]}", "show.mark.1: not one of best, worst, best of GROUP; did you mean 'worst'?"),
        ("{mark: [best, best]}", "show.mark: a mark is named twice"),
        ("{mark: [best of Universal]}", "show.mark: no group is called 'Universal'; known: g."),
        ("{validation: 3}", "show.validation"),
        ("merged", "show"),
    ],
)
def test_what_cannot_be_shown_is_an_error_before_any_work(world: World, show: str, says: str):
    with pytest.raises(UsageError) as error:
        showing(world, show)
    assert says in str(error.value)


def test_a_row_and_the_defaults_have_a_distance_and_it_changes_the_run(world: World):
    text = RECIPE.replace("{name: Random}", "{name: Random, distance: euclidean}")
    world.recipe.path.write_text(text)
    rows = read_recipe(world.recipe.path).rows
    assert [row.runs[0].distance for row in rows] == ["cosine", "euclidean"]
    paths = {Run(replace_distance(rows[0].runs[0], each), {}, Path("runs")).path for each in ("cosine", "euclidean")}
    assert len(paths) == 2
    world.recipe.path.write_text(text.replace("  seeds: [0, 1, 2]", "  seeds: [0]\n  distance: euclidean"))
    assert [row.runs[0].distance for row in read_recipe(world.recipe.path).rows] == ["euclidean"] * 2


def replace_distance(config, distance):
    return config.model_copy(update={"distance": distance})


def test_runs_by_euclidean_distance_are_scored_by_it(world: World):
    world.write_store()
    world.recipe.path.write_text(RECIPE.replace("{name: Full,", "{name: Full, distance: euclidean,"))
    recipe = read_recipe(world.recipe.path)
    inventory = Inventory(replace(recipe, rows=recipe.rows[:1]), world.workspace)
    sweep(inventory.runs(), "cpu")
    [(run, _)] = inventory.runs()
    assert (pl.read_parquet(run.path / "per_query.parquet")["similarities"].explode() < 0).all()


def test_an_oracles_official_mean_is_rounded(world: World):
    class _Run:
        def __init__(self, domain: str, value: float) -> None:
            self.config = type("Config", (), {"domain": domain})
            counts = {"queries": 1, "nothing_to_find": 0}
            merged = {"mean": {"R@1": value}, "domains": {domain: {"R@1": value, **counts}}}
            self.scores = type("Scores", (), {"test": SplitScores.model_validate({"official": {"merged": merged}})})

    runs = [_Run("a", 0.333), _Run("b", 0.5), _Run("c", 0.25)]
    assert oracle_scores(runs, "official", "merged").mean == {"R@1": 0.361}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("mMP@5", 61.26, "61.3"),
        ("mAP", 54.8, "54.8"),
        ("images", 316446, "316,446"),
        ("classes", 78.0, "78"),
        ("total parameters", 430_964_480, "431.0 M"),
        ("trainable parameters", 1_045e6, "1,045.0 M"),
        ("setting", "Adam", "Adam"),
        ("images", "28k", "28k"),
    ],
)
def test_how_a_value_is_written_depends_on_its_metric_alone(metric: str, value: float | str, text: str):
    assert format_value(metric, value) == text


def test_a_score_has_a_best_and_a_count_has_none():
    names = ("mMP@5", "R@1", "mAP@100", "images", "total parameters", "setting", "unseen classes")
    assert [is_score(metric) for metric in names] == [True] * 3 + [False] * 4


def test_sizes_are_named_in_the_order_in_which_they_stand():
    sizes = ("total parameters", "deployed parameters", "trainable parameters")
    legend = Display(metrics=("mMP@5", *sizes)).legend
    assert (
        "parameters in millions (M): total / deployed / trainable, the deployed ones without class matrices" in legend
    )
    assert "deployed" not in Display(metrics=("mMP@5", "total parameters")).legend


def test_another_recipes_marks_hold_as_far_as_there_are_such_groups(world: World):
    world.recipe.path.write_text(f"{RECIPE}\nshow: {{mark: [best, best of g]}}\n")
    child = world.recipe.path.with_name("child.yaml")
    child.write_text("based_on: small.yaml\ntitle: Another\nreference: null\nrows: [{like: Random}]\n")
    assert read_recipe(child).display.mark == ("best", "best of g")
    child.write_text(f"{child.read_text()}show: {{mark: [best of g]}}\n")
    with pytest.raises(UsageError, match="no group is called 'g'; no printed row has one"):
        read_recipe(child)
