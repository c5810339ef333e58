"""The validation of the selected epochs as a column beside the means, measured and printed."""

import statistics

import pytest

from probe.errors import UsageError
from probe.planning.completion import fit_recipe
from probe.planning.inventory import Inventory
from probe.recipes.recipe import read_recipe
from probe.report.agreement import rank_agreement
from probe.report.page.document import html
from probe.report.render.latex import latex
from probe.report.render.markdown import markdown
from probe.report.table import Table, build_table
from tests.report.test_table import csv_line, terminal_text
from tests.report.world import World

RECIPE = """
title: With validation
data: small
reference: printed.csv
show: {validation: true}
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 2, batch: 16}
  seeds: [0, 1]
rows:
  - {name: Untrained, head: {kind: full-dimension}}
  - {name: Trained, printed: Ours, column: {Validation: public, Mean: private}}
  - {name: Oracle, specialists: true, seeds: [0]}
"""
PRINTED = "paper,table,group,row,column,metric,value,std\nP,1,,Ours,public,mMP@5,71.7,\nP,1,,Ours,private,mMP@5,70.1,\n"


@pytest.fixture
def table(world: World) -> tuple[Table, Inventory]:
    world.write_store()
    (world.recipe.path.parent / "reference" / "printed.csv").write_text(PRINTED)
    world.recipe.path.write_text(RECIPE)
    recipe = read_recipe(world.recipe.path)
    inventory = Inventory(recipe, world.workspace)
    fit_recipe(inventory, "cpu")
    inventory = Inventory(recipe, world.workspace)
    return build_table(inventory), inventory


@pytest.mark.slow
def test_it_is_the_selected_epochs_and_an_oracles_is_of_each_specialists_own_domain(table: tuple[Table, Inventory]):
    built, inventory = table
    untrained, trained, oracle = built.rows
    assert built.means == ["Mean", "Validation"]
    for metric in ("mMP@5", "R@1"):
        runs = inventory.runs_of["Trained"]
        selected = [run.directory.history[(run.scores.selected_epoch or 0) - 1] for run in runs]
        values = [100 * record.val[metric] for record in selected]
        assert trained.cells["Validation"][metric].mean == pytest.approx(statistics.fmean(values))
        assert trained.cells["Validation"][metric].std == pytest.approx(statistics.stdev(values))
        specialists = [(run.config.domain, run.scores.val) for run in inventory.runs_of["Oracle"]]
        own = [val.value(metric, domain) for domain, val in specialists if val]
        assert len(own) == 2
        assert oracle.cells["Validation"][metric].mean == pytest.approx(100 * statistics.fmean(own))
    assert "Validation" not in untrained.cells


def test_measured_and_printed_stand_side_by_side_in_every_form(table: tuple[Table, Inventory]):
    built, _ = table
    trained = built.rows[1]
    assert trained.printed["Validation"]["mMP@5"].value == 71.7
    measured = f"{trained.cells['Validation']['mMP@5'].mean:.1f}"
    text = markdown(built)
    assert "| row | dim | seeds | Mean mMP@5 | Mean R@1 | Validation mMP@5 | Validation R@1 | birds mMP@5 |" in text
    assert "Validation: of the selected epoch; merged index, clean protocol." in text
    for form in (text, latex(built), terminal_text(built), html(built)):
        assert "Validation" in form
        assert measured in form
        assert "71.7" in form
    line = csv_line(built, "Trained", "Validation")
    assert (f"{float(line['measured']):.1f}", line["printed"]) == (measured, "71.7")


@pytest.mark.slow
def test_the_order_of_the_printed_validation_is_compared_with_the_measured_one(world: World):
    rows = "".join(
        f"  - {{name: R{number}, head: {{dim: {dim}}}, seeds: [0], printed: R{number}, column: {{Validation: public}}, "
        "compared: other-benchmark, because: It is another.}\n"
        for number, dim in enumerate((2, 4, 8))
    )
    printed = PRINTED.splitlines()[0] + "".join(f"\nP,1,,R{n},public,mMP@5,{50 + n},0" for n in range(3))
    (world.recipe.path.parent / "reference" / "printed.csv").write_text(printed)
    world.recipe.path.write_text(RECIPE.split("rows:")[0] + "rows:\n" + rows)
    world.write_store()
    recipe = read_recipe(world.recipe.path)
    fit_recipe(Inventory(recipe, world.workspace), "cpu")
    built = build_table(Inventory(recipe, world.workspace))
    assert [(found.column, found.metric, found.rows) for found in rank_agreement(built)] == [("Validation", "mMP@5", 3)]


def test_a_domain_of_its_name_is_refused(world: World):
    text = RECIPE.replace(", printed: Ours, column: {Validation: public, Mean: private}", "")
    world.recipe.path.write_text(text.replace("reference: printed.csv", "columns: {birds: Validation}"))
    with pytest.raises(UsageError, match="'birds' would be shown as 'Validation'"):
        Inventory(read_recipe(world.recipe.path), world.workspace)
