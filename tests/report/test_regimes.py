"""UnED's regimes as rows of a recipe: what they mean, what is shared, what waits for what, what is refused."""

import csv
from functools import cache
from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.metrics import Scores
from probe.planning.completion import fit_recipe
from probe.planning.inventory import Inventory
from probe.planning.specialists import by_seed
from probe.recipes.overrides import Overrides
from probe.recipes.printed import PrintedValue, read_printed_values
from probe.recipes.recipe import Recipe, read_recipe
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.table import build_table
from probe.runs.run import Run
from tests.conftest import Shared
from tests.report.test_table import terminal_text
from tests.report.world import World

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
UNED = ["food2k", "cars196", "sop", "inshop", "inat", "met", "gldv2", "rp2k"]
TABLES = ["uned_supp_s1", "uned_supp_s2", "uned_supp_s3", "uned_supp_s4", "uned_supp_s5", "uned_table4"]

REGIMES = """
title: Regimes
data: small
reference: printed.csv
columns: {birds: birds}
defaults:
  backbone: descriptor
  head: {kind: l2-linear-l2, dim: 8}
  loss: {kind: normalised-softmax}
  training: {epochs: 2, batch: 8, warmup_epochs: 0, schedule: constant, lr: 0.01, select_by: R@1}
  seeds: [0, 1]
rows:
  - {name: Steps, training: &steps {sampler: specialist-steps, specialist_steps: {measured: Oracle}}}
  - {name: Oracle, specialists: true, printed: As printed, compared: linear-probe, because: It is frozen here.}
  - {name: Cars, domain: cars}
  - {name: Never, printed: As printed, compared: printed-only, because: Its weights were never released.}
"""


def keys(recipe: Recipe, seeds: set[int] | None = None) -> set[str]:
    """Every run that the recipe means on UnED, by what makes its key."""
    configs = [config for row in recipe.rows for config in row.configs(UNED, None)]
    return {config.model_dump_json() for config in configs if seeds is None or config.seed in seeds}


def regimes(world: World, text: str = REGIMES, changes: Overrides | None = None) -> Recipe:
    world.recipe.path.write_text(text)
    return read_recipe(world.recipe.path, changes)


@cache
def read(name: str) -> Recipe:
    return read_recipe(RECIPES / f"{name}.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uned_supp_s1", "uned_supp_s3", "uned_supp_s4"])
def test_the_supplements_tables_train_nothing_that_table_4_has_not(name: str):
    assert keys(read(name)) <= keys(read("uned_table4"))


def test_a_specialist_used_as_universal_is_the_oracles(world: World):
    recipe = regimes(world)
    assert set(recipe.rows[2].configs(["birds", "cars"], None)) <= set(recipe.rows[1].configs(["birds", "cars"], None))


PAPERS_ORDER = ["Food2k", "CARS196", "SOP", "InShop", "iNat", "Met", "GLDv2", "Rp2k"]


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_row_of_a_table_is_in_its_recipe(name: str):
    recipe = read(name)
    assert recipe.reference is not None
    of_the_paper = [row for row in recipe.rows if not row.name.startswith("Ours: ")]
    assert [row.relation.printed for row in of_the_paper] == list(recipe.reference.rows)
    assert list(recipe.columns.values()) == (recipe.reference.domains or PAPERS_ORDER)


@pytest.mark.parametrize("name", TABLES)
def test_printed_values_are_the_published_ones(name: str, shared: Shared):
    reference = read(name).reference
    assert reference is not None
    with shared(f"reference/{name}.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert sum(len(values) for row in reference.rows.values() for values in row.values()) == len(lines)
    for line in lines:
        printed = reference.rows[line["row"]][line["column"]][line["metric"]]
        assert (printed.value, printed.std) == (float(line["value"]), float(line["std"]) if line["std"] else None)


def test_the_published_specialist_steps_are_best_epochs_times_whole_batches():
    images = [472349, 6346, 48942, 20897, 273929, 397121, 1422914, 188724]
    epochs = [3, 11, 28, 28, 4, 8, 6, 4]
    (row,) = [row for row in read("uned_table4").rows if row.name == "CLIP+USCSS"]
    expected = [epoch * (count // 128) for epoch, count in zip(epochs, images, strict=True)]
    assert row.runs[0].model_dump()["training"]["specialist_steps"] == dict(zip(UNED, expected, strict=True))


def test_the_regimes_of_the_documentation_are_rows_of_a_recipe(world: World):
    text = (RECIPES.parent / "docs" / "regimes.md").read_text()
    rows = text.split("```yaml\n")[1].split("```")[0]
    recipe = regimes(world, REGIMES.split("rows:")[0] + "rows:\n" + rows)
    assert [(row.specialists, row.steps_of) for row in recipe.rows] == [(True, None), (False, "Oracle")]


def test_a_row_that_groups_share_is_named_with_its_group(tmp_path: Path):
    path = tmp_path / "two.csv"
    head = "paper,table,group,row,column,metric,value,std\n"
    path.write_text(head + "P,1,IN,Oracle,Mean,R@1,1.5,0.2\nP,1,CLIP,Oracle,Mean,R@1,2.5,\nP,1,CLIP,Else,Mean,R@1,3,\n")
    rows = read_printed_values(path).rows
    assert list(rows) == ["IN / Oracle", "CLIP / Oracle", "Else"]
    assert rows["IN / Oracle"]["Mean"]["R@1"] == PrintedValue(1.5, 0.2)
    path.write_text(head + "P,1,IN,Oracle,Mean,R@1,1.5,\nP,1,IN,Oracle,Mean,R@1,2.5,\n")
    with pytest.raises(UsageError, match=r"two.csv, line 3: Oracle, Mean, R@1 is there twice"):
        read_printed_values(path)


def test_the_oracle_takes_each_domain_from_its_own_specialist(world: World):
    world.write_store()
    recipe = regimes(world, changes=Overrides.parse([], None, ["Oracle"]))
    inventory = Inventory(recipe, world.workspace)
    assert fit_recipe(inventory, "cpu") == 4
    runs = {(run.config.domain, run.config.seed): run for run in inventory.runs_of["Oracle"]}
    (row,) = build_table(inventory).rows
    for domain in ("birds", "cars"):
        values = [100 * _merged(runs[domain, seed]).value("R@1", domain) for seed in (0, 1)]
        assert row.cells[domain]["R@1"].mean == pytest.approx(sum(values) / 2)
    assert row.cells["Mean"]["R@1"].mean == pytest.approx(sum(row.cells[d]["R@1"].mean for d in ("birds", "cars")) / 2)
    assert (row.done, row.planned, row.dim) == (2, 2, 8)


@pytest.mark.slow
def test_steps_that_are_to_be_measured_wait_for_the_specialists(world: World):
    world.write_store()
    recipe = regimes(world)
    inventory = Inventory(recipe, world.workspace)
    table = build_table(inventory)
    assert inventory.runs_of["Steps"] == []
    assert "Steps: waits for the steps of Oracle" in table.missing
    assert [command.split(" --")[0] for command in table.commands] == [f"probe fit {recipe.path}"]
    assert fit_recipe(inventory, "cpu") == 6
    assert not build_table(inventory).missing
    first, second = inventory.runs_of["Steps"]
    specialists, _ = by_seed(inventory.runs_of["Oracle"])
    steps = {run.config.domain: (run.scores.selected_epoch or 0) * (24 // 8) for run in specialists}
    for run in (first, second):
        assert run.config.model_dump()["training"]["specialist_steps"] == steps
    assert fit_recipe(Inventory(recipe, world.workspace), "cpu") == 0


def test_an_oracle_lacks_a_seed_as_long_as_one_of_its_specialists_is_missing(world: World):
    world.write_store()
    recipe = regimes(world)
    fit_recipe(Inventory(regimes(world, changes=Overrides.parse([], "0", ["Cars"])), world.workspace), "cpu")
    rows = {row.name: row for row in build_table(Inventory(recipe, world.workspace)).rows}
    assert (rows["Cars"].done, rows["Oracle"].done, rows["Oracle"].cells) == (1, 0, {})


def test_a_row_that_waits_brings_the_row_that_it_waits_for(world: World, capsys):
    recipe = regimes(world, changes=Overrides.parse([], None, ["Steps"]))
    assert [row.name for row in recipe.rows] == ["Steps", "Oracle"]
    assert "row 'Oracle' is taken too" in capsys.readouterr().err


def test_each_rows_mark_and_reason_are_in_every_form_of_the_table(world: World):
    table = build_table(Inventory(regimes(world), world.workspace))
    for text in (terminal_text(table), markdown(table)):
        assert "printed (linear probe)" in text
        assert "printed only" in text
        assert "Oracle: linear probe: It is frozen here." in text
        assert "Never: printed only: Its weights were never released." in text
    marks = {line["row"]: line["compared"] for line in csv.DictReader(long_csv(table).splitlines())}
    assert marks == {"Oracle": "linear-probe", "Never": "printed-only"}


def test_domains_are_shown_by_their_printed_name_in_the_order_of_the_print(world: World):
    world.write_store()
    (world.recipe.path.parent / "reference" / "printed.csv").write_text(
        "paper,table,group,row,column,metric,value,std\nP,1,g,As printed,Cars,R@1,61.0,0.5\n"
        "P,1,g,As printed,Birds,R@1,62.0,\nP,1,g,As printed,Fish,R@1,63.0,\n"
    )
    text = REGIMES.replace("columns: {birds: birds}", "columns: {cars: Cars, birds: Birds}")
    recipe = regimes(world, text, Overrides.parse([], "0", ["Oracle"]))
    inventory = Inventory(recipe, world.workspace)
    fit_recipe(inventory, "cpu")
    table = build_table(inventory)
    assert table.columns == ["Mean", "Cars", "Birds", "Fish"]
    assert set(table.rows[0].cells) == {"Mean", "Cars", "Birds"}
    assert "61.0 ± 0.5" in markdown(table)


BASED = """
based_on: small.yaml
title: Based
rows:
  - Oracle
  - {like: Cars, name: Birds, domain: birds}
  - {name: Own, head: {kind: full-dimension}, seeds: [0]}
"""


def based(world: World, text: str = BASED) -> Recipe:
    world.recipe.path.write_text(REGIMES)
    path = world.recipe.path.with_name("based.yaml")
    path.write_text(text)
    return read_recipe(path)


def test_a_recipe_takes_what_it_does_not_say_from_the_one_that_it_is_based_on(world: World):
    base, recipe = regimes(world), based(world)
    assert (recipe.title, recipe.name, recipe.data, recipe.columns) == ("Based", "based", "small", base.columns)
    assert recipe.rows[0] == base.rows[1]
    assert [run.domain for run in recipe.rows[1].runs] == ["birds", "birds"]
    assert recipe.rows[2].runs[0].backbone == "descriptor"
    assert [row.name for row in based(world, "based_on: small.yaml\ntitle: All\n").rows] == [r.name for r in base.rows]


def test_a_base_brings_its_backbones_and_the_command_that_extracts_them():
    backbone = read("uned_supp_s5").rows[0].backbones[0]
    assert (backbone.name, backbone.catalogue) == ("uned-in", RECIPES / "uned_table4.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("- Oracle", "- Orakle", "small.yaml has no row 'Orakle'; did you mean 'Oracle'?"),
        ("like: Cars", "like: [Cars]", "small.yaml has no row '['Cars']'"),
        ("like: Cars", "like: Carts", "small.yaml has no row 'Carts'; did you mean 'Cars'?"),
        ("title: Based", "about: x", "'title' is missing"),
        ("based_on: small.yaml", "based_on: smal.yaml", "smal.yaml cannot be read as the recipe that"),
        ("based_on: small.yaml", "based_on: based.yaml", "is itself based on"),
        ("based_on: small.yaml", "based_on: [small.yaml]", "based_on: name a recipe"),
        ("title: Based", "title: Based\ncolums: {}", "unknown key 'colums'; did you mean 'columns'?"),
    ],
)
def test_a_mistaken_base_is_an_error_that_names_the_file(world: World, old: str, new: str, says: str):
    assert old in BASED
    with pytest.raises(UsageError) as raised:
        based(world, BASED.replace(old, new))
    assert says in str(raised.value)
    assert "based.yaml" in str(raised.value)


@pytest.mark.parametrize(("columns", "taken"), [("{birds: cars}", "birds"), ("{birds: Mean}", "Mean")])
def test_two_columns_never_share_a_name(world: World, columns: str, taken: str):
    rows = REGIMES.split("rows:")[0].replace("reference: printed.csv\n", "") + "rows:\n  - {name: Cars, domain: cars}\n"
    recipe = regimes(world, rows.replace("{birds: birds}", columns))
    with pytest.raises(UsageError, match=rf"which is the column of '{taken}'; give it a name of its own"):
        Inventory(recipe, world.workspace)


def test_a_column_of_no_domain_is_said(world: World):
    table = build_table(Inventory(regimes(world, REGIMES.replace("{birds: birds}", "{brids: birds}")), world.workspace))
    assert "columns: 'brids' is no domain of small; did you mean 'birds'?" in table.notes


PRINTED_ONLY = "compared: printed-only, because: Its weights were never released."


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("because: It is frozen here.", "seeds: [0]", "row 'Oracle': compared: linear-probe needs a `because`"),
        ("printed: As printed, compared: linear", "compared: linear", "name their row with `printed`"),
        (
            "compared: linear-probe",
            "compared: liner-probe",
            "'linear-probe', 'other-benchmark', 'recomputed' or 'printed-only'",
        ),
        ("printed: As printed, compared: printed-only", "compared: printed-only", "name their row with `printed`"),
        (PRINTED_ONLY, f"{PRINTED_ONLY}, seeds: [0]", "row 'Never': it is printed only and has no runs; leave out `se"),
        (PRINTED_ONLY, f"{PRINTED_ONLY}, becase: x", "unknown key 'becase'; did you mean 'because'?"),
        ("domain: cars", "domain: cars, specialists: true", "row 'Cars': `specialists` has a run for each domain"),
        ("specialists: true", "specialists: true, head: {kind: average-pooling}", "'average-pooling' is not trained"),
        ("{measured: Oracle}", "{measured: Orakle}", "row 'Steps': training.specialist_steps: 'Orakle' is no row"),
        ("{measured: Oracle}", "{measured: Cars}", "'Cars' is no row with `specialists: true`"),
        ("{measured: Oracle}", "{measured: Oracle, cars: 3}", "`measured` names a row and stands alone"),
        ("specialists: true", "specialists: true, training: *steps", "specialists are what is measured"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "defaults.seeds: a seed is named twice"),
        ("domain: cars", "seeds: [1, 1]", "row 'Cars': seeds: a seed is named twice"),
        ("reference: printed.csv\n", "", "row 'Oracle': printed: the recipe has no `reference` file"),
        ("domain: cars", "seed: 1", "row 'Cars': unknown key 'seed'; did you mean 'seeds'?"),
        ("domain: cars", "like: Oracle", "row 'Cars': unknown key 'like'"),
        ("{birds: birds}", "{birds: brids}", "columns.birds: 'brids' is no column of"),
        ("{birds: birds}", "{birds: birds, cars: birds}", "two domains have the same column"),
        ("printed: As printed, c", "printed: As prnted, c", "file; did you mean 'As printed'?"),
    ],
)
def test_a_wrong_combination_is_an_error_that_names_the_file(world: World, old: str, new: str, says: str):
    assert old in REGIMES
    with pytest.raises(UsageError) as raised:
        regimes(world, REGIMES.replace(old, new))
    assert says in str(raised.value)
    assert "small.yaml" in str(raised.value)


def _merged(run: Run) -> Scores:
    return run.scores.test.of("clean", "merged")


@pytest.mark.slow
def test_a_row_whose_training_does_not_beat_its_start_says_so_in_its_line_and_in_the_table(world: World, capsys):
    world.write_store()
    still = "{epochs: 2, batch: 8, warmup_epochs: 0, schedule: constant, lr: 1.0e-12, freeze_head_epochs: 1}"
    rows = f"""rows:
  - {{name: Moved, seeds: [3], training: {{epochs: 5}}}}
  - {{name: Still, seeds: [0], training: {still}}}
  - {{name: Still apart, seeds: [0], specialists: true, training: {still}}}
"""
    recipe = regimes(world, REGIMES.split("rows:")[0] + rows)
    inventory = Inventory(recipe, world.workspace)
    assert fit_recipe(inventory, "cpu") == 4
    assert inventory.runs_of["Moved"][0].scores.start.beaten  # type: ignore[union-attr]
    lines = [line for line in capsys.readouterr().err.splitlines() if "(epoch" in line]
    assert sum(line.endswith("; no better on validation than before training") for line in lines) == 3
    assert [note for note in build_table(inventory).notes if "before training" in note] == [
        "Still: no epoch is better on validation than the head before training: seed 0",
        "Still apart: no epoch is better on validation than the head before training: seed 0 of birds, seed 0 of cars",
    ]
