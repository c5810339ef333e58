"""Differences of two rows: of their measured values, beside the improvement that a paper prints."""

import json
import statistics
from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.planning.inventory import Inventory
from probe.recipes.overrides import Overrides
from probe.recipes.recipe import read_recipe
from probe.report.agreement import rank_agreement
from probe.report.figures.heatmap import heatmap_values
from probe.report.page.document import html
from probe.report.page.grid import build_grid
from probe.report.render.latex import latex
from probe.report.render.markdown import markdown
from probe.report.table import Table, build_table
from probe.runs import sweep
from probe.workspace import Workspace
from tests.report.test_table import csv_line, terminal_text
from tests.report.world import RECIPE, World

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
DIFFERENCES = """
  - {name: Eight, head: {dim: 8}}
  - {name: Four, head: {dim: 4}}
differences:
  - {name: Eight over four, of: Eight, minus: Four, printed: As printed, compared: other-benchmark, because: Other.}
  - {name: Four over full, of: Four, minus: Full}
"""
TEXT = RECIPE.replace("- {name: Random}", DIFFERENCES.strip())


@pytest.fixture
def table(world: World) -> Table:
    world.write_store()
    world.recipe.path.write_text(TEXT)
    recipe = read_recipe(world.recipe.path)
    sweep(Inventory(recipe, world.workspace).runs(), "cpu")
    return build_table(Inventory(recipe, world.workspace))


def values(world: World, dim: int) -> dict[int, float]:
    """Mean mMP@5 by seed, from the runs' files."""
    found = {}
    for file in world.workspace.runs.glob("descriptor_random-projection_*/metrics.json"):
        if f"dim: {dim}\n" in (file.parent / "config.yaml").read_text():
            seed = int(file.parent.name.split("seed")[1].split("_")[0])
            found[seed] = 100 * json.loads(file.read_text())["test"]["clean"]["merged"]["mean"]["mMP@5"]
    return found


def test_it_is_taken_seed_by_seed_where_both_rows_have_the_same(world: World, table: Table):
    eight, four = values(world, 8), values(world, 4)
    assert eight.keys() == four.keys() == {0, 1, 2}
    by_seed = [eight[seed] - four[seed] for seed in eight]
    cell = table.differences[0].cells["Mean"]["mMP@5"]
    assert cell.mean == pytest.approx(statistics.fmean(by_seed))
    assert cell.std == pytest.approx(statistics.stdev(by_seed))
    assert (table.differences[0].done, table.differences[0].planned) == (3, 0)


@pytest.mark.slow
def test_it_is_of_the_means_without_deviation_where_the_rows_have_other_seeds(table: Table):
    rows = {row.name: row for row in table.rows}
    for column in table.columns:
        cell, of, minus = (row.cells[column]["R@1"] for row in (table.differences[1], rows["Four"], rows["Full"]))
        assert cell.mean == pytest.approx(of.mean - minus.mean)
        assert cell.std is None


def test_it_stands_below_the_rows_with_its_sign_in_every_form(table: Table):
    cell = table.differences[0].cells["Mean"]["mMP@5"]
    assert cell.mean > 0
    measured, printed = f"+{cell.mean:.1f} ± {cell.std:.1f}", "+50.5"
    text = markdown(table)
    heading, *lines = text[text.index("| *Differences") :].splitlines()
    assert heading.startswith("| *Differences of rows, in points* |")
    assert lines[0].startswith(f"| Eight over four |  | 3 | {measured} |")
    assert lines[1].startswith(f"| printed (other benchmark) |  |  | {printed} |")
    assert lines[2].startswith("| Four over full |  | 1 | -")
    shown = terminal_text(table)
    assert f"+{cell.mean:.1f} ± {cell.std:.1f}" in shown
    assert shown.index("Four ") < shown.index("Differences of rows") < shown.index("Eight over four")
    tex = latex(table)
    assert f"+{cell.mean:.1f} $\\pm$ {cell.std:.1f}" in tex
    assert r"Four over full &  & 1 & $-$" in tex
    assert measured.split()[0] in html(table)
    line = csv_line(table, "Eight over four", "Mean")
    assert line["group"] == "Differences of rows, in points"
    assert (line["measured"], line["printed"]) == (repr(cell.mean), "50.5")
    assert any("Eight over four: other benchmark: Other." in reason for reason in table.reasons)


def test_it_is_no_row_for_what_compares_rows(table: Table):
    assert "Eight over four" not in heatmap_values(table).rows
    assert not rank_agreement(table)
    grid = build_grid(table)
    assert [len(grid.rows), len(grid.differences)] == [3, 2]
    assert not any(cell.standing for row in grid.differences for cell in row.cells)


def test_without_runs_the_printed_one_stands_alone(world: World):
    world.recipe.path.write_text(TEXT)
    table = build_table(Inventory(read_recipe(world.recipe.path), world.workspace))
    assert table.differences[0].cells == {}
    assert "| printed (other benchmark) |  |  | +50.5 |" in markdown(table)


def test_a_part_of_the_rows_has_the_differences_that_it_can_have(world: World):
    world.recipe.path.write_text(TEXT)
    recipe = read_recipe(world.recipe.path, Overrides.parse([], None, ["Full", "Four"]))
    assert [difference.name for difference in recipe.differences] == ["Four over full"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "minus: Full",
            "minus: Ful",
            "minus: no row with runs is called 'Ful'; did you mean 'Full'?",
        ),
        ("minus: Full", "minus: Four", "difference 'Four over full': `of` and `minus` are the same row"),
        ("minus: Full", "minus: Full, mins: x", "differences.1: unknown key 'mins'; did you mean 'minus'?"),
        ("name: Four over full", "name: Four", "difference 'Four': something else has this name"),
        ("of: Eight", "of: Eight, column: {Mean: private}", "'As printed' has no printed 'private'"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_work(world: World, old: str, new: str, says: str):
    world.recipe.path.write_text(TEXT.replace(old, new))
    with pytest.raises(UsageError) as error:
        read_recipe(world.recipe.path)
    assert says in str(error.value)


def test_the_6th_places_improvements_stand_below_its_rows(tmp_path: Path):
    """Section 3.3: 0.016 on the public leaderboard, 0.005 on the private one."""
    inventory = Inventory(read_recipe(RECIPES / "guiec-6th-place.yaml"), Workspace(tmp_path, tmp_path, tmp_path))
    [difference] = build_table(inventory).differences
    printed = {column: values["mMP@5"].value for column, values in difference.printed.items()}
    assert printed == {"Validation": 1.6, "Mean": 0.5}
    assert "| printed (other benchmark) |  |  | +0.5 | +1.6 |" in markdown(build_table(inventory))
