"""Verdicts on claims: what the papers' printed numbers bear out, and what finished runs do, with their paired tests."""

import csv
import io
import json
import statistics
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr, ttest_ind

from probe.metrics import averaged, permutation_p
from probe.planning import make_plan
from probe.planning.inventory import Inventory
from probe.planning.status import Planner
from probe.recipes.recipe import read_recipe
from probe.report.claim_tests import ClaimTests
from probe.report.claims import CheckedClaim, Verdict, check_claims
from probe.report.render.files import FORMATS
from probe.report.render.overview import is_begun, rows_text
from probe.report.render.terminal import show
from probe.report.significance import FLIPS
from probe.report.table import Table, build_table
from probe.runs import ScoredFolder, sweep
from probe.workspace import Workspace
from tests.report.world import World, small_world

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = Workspace(ROOT / "no data", ROOT / "no features", ROOT / "no runs")

NOT_BORNE_OUT = {
    "IN: on the other domains no universal model is above the specialists",  # CARS196: 61.9 against 62.9
    "CLIP: on the other domains no universal model is above the specialists",  # Rp2k: 69.7 against 71.1
    "IN: of all domains SOP and InShop gain most by the joint classifier",  # CARS196 gains 4.0, SOP 2.8
    "IN: specialist steps have the best mean mMP@5",  # 51.3 against 52.4; in R@1 they have
    "CLIP: specialist steps have the best mean mMP@5",  # 55.0 both
    "IN: specialist steps deviate most between seeds",  # 0.3 both
    "The six winners are above the universal models on UnED",  # the third is not: 54.0 against 55.0
    "Trained: no domain is lower with a separate index",  # one seed there, the mean of three here
    "CLIP+USCSS: Met gains most by a separate index",  # 0.7, SOP 2.3
    "pooling: SigLIP's SoViT-400m is second",  # fourth
    "linear: SigLIP's SoViT-400m is second",  # third
    "linear: ViT-L of DataComp-1B is better than ViT-H of LAION-2B",  # 50.6 against 50.9
    "pooling: MetaCLIP, DINOv2 and SAM are below all others",  # DINOv2 at 518 pixels 43.6, CLIP 43.1
    "linear: MetaCLIP, DINOv2 and SAM are below all others",
    "Li-ArcFace and dynamic margins are no better than ArcFace",  # 71.9 against 71.7
}
NOT_PRINTED = {
    "IN: domains overfit at different rates (epochs of the specialists)",
    "CLIP: domains overfit at different rates (epochs of the specialists)",
    "IN: GLDv2 beside Met makes training difficult for Met",  # in the text alone
    "CLIP: GLDv2 beside Met makes training difficult for Met",  # likewise
    "CLIPA's ViT-H has more parameters than SigLIP's SoViT-400m",  # likewise
    "PCA to 64 dimensions is better than average pooling",  # likewise
    "Local validation does not track the leaderboard",
}


def checks(inventory: Inventory) -> dict[str, CheckedClaim]:
    tests = ClaimTests(inventory.workspace.tables / "tests.json")
    return {each.claim.claim: each for each in check_claims(inventory, tests)}


@cache
def of_papers() -> Inventory:
    """Without data, features or runs."""
    return Inventory(read_recipe(ROOT / "recipes" / "claims.yaml"), NOWHERE)


@cache
def of_print() -> dict[str, CheckedClaim]:
    return checks(of_papers())


def test_the_printed_numbers_bear_out_what_the_papers_say_of_them_but_for_these():
    stated = {name: each for name, each in of_print().items() if "pocket" not in each.claim.recipe}
    assert {name for name, each in stated.items() if each.printed is None} == NOT_PRINTED
    failing = {name for name, each in stated.items() if each.printed and each.printed.verdict == Verdict.FAILS}
    assert failing == NOT_BORNE_OUT
    assert all(each.printed is None for name, each in of_print().items() if name not in stated)


def printed(table: str) -> dict[tuple[str, str, str], float]:
    """By row, column and metric, read by itself."""
    with (ROOT / "recipes" / "reference" / f"{table}.csv").open() as file:
        return {(line["row"], line["column"], line["metric"]): float(line["value"]) for line in csv.DictReader(file)}


def test_the_amount_that_decides_is_that_of_the_print():
    four, s3, s4 = (printed(name) for name in ("uned_table4", "uned_supp_s3", "uned_supp_s4"))
    metric = "mMP@5"
    universal = [f"CLIP+{name}" for name in ("UJCDS", "UJCRR", "USCRR", "USCSS")]
    best = {column: max(four[row, column, metric] for row in universal) for column in ("SOP", "InShop")}
    joint = {
        column: four["IN+UJCRR", column, metric] - four["IN+USCRR", column, metric]
        for column in ("Food2k", "CARS196", "SOP", "InShop", "iNat", "Met", "GLDv2", "Rp2k")
    }
    gain = {row: s3[row, "Mean", metric] - four[row, "Mean", metric] for row, column, _ in s3 if column == "Mean"}
    others = [value for row, value in gain.items() if row != "CLIP+PCAw"]
    worst = [s4[row, "Mean", metric] for row, column, m in s4 if row[:2] == "IN" and (column, m) == ("Mean", metric)]
    expected = {
        "DINOv2 is the best of the off-the-shelf features": 43.9 - 39.8,
        "CLIP: on SOP and InShop the best universal model is above the specialists": min(
            value - four["CLIP+Oracle", column, metric] for column, value in best.items()
        ),
        "IN: of all domains SOP and InShop gain most by the joint classifier": min(joint["SOP"], joint["InShop"])
        - max(value for column, value in joint.items() if column not in ("SOP", "InShop")),
        "PCA-whitening gains most by a separate index": gain["CLIP+PCAw"] - max(others),
        "IN: the specialist of GLDv2 is the worst universal model of all specialists": sorted(worst)[1] - min(worst),
        "ViT-B is as good as ViT-L": 0.0,
        "On the test set Sub-Center ArcFace is above CurricularFace": 72.1 - 71.5,
        "On validation CurricularFace is above Sub-Center ArcFace": 72.2 - 72.0,
        "CLIP: specialist steps deviate most between seeds": 0.9 - 0.4,
        "It has fewer parameters than the leanest of the others, the fifth": 633e6 - 431e6,
    }
    for name, amount in expected.items():
        found = of_print()[name].printed
        assert found is not None
        assert found.amount == pytest.approx(amount), name


def test_two_metrics_rank_the_printed_baselines_alike():
    by_map, by_mmp = printed("uned_supp_s1"), printed("uned_table4")
    rows = [row for row, column, _ in by_map if column == "Mean"]
    here = [by_map[row, "Mean", "mAP@100"] for row in rows]
    there = [by_mmp[row.replace(" + ", "+"), "Mean", "mMP@5"] for row in rows]
    found = of_print()["mAP@100 is highly correlated with mMP@5"].printed
    assert found is not None
    assert found.amount == pytest.approx(spearmanr(here, there)[0])


RECIPE = """
title: Small
data: small
columns: {birds: Birds, cars: Cars}
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 2, batch: 16}
  seeds: [0, 1]
rows:
  - {name: Full, head: {kind: full-dimension}}
  - {name: Random, head: {kind: random-projection, dim: 4}}
  - {name: Trained}
  - {name: Oracle, specialists: true}
  - {name: Birds alone, domain: birds}
  - {name: Cars alone, domain: cars}
"""
CLAIMS = """
kind: claims
title: Claims of a small world
claims:
  - claim: Full is above
    place: "A, 1"
    recipe: small
    kind: above
    rows: [Full]
    than: [Random]
    columns: [Mean, Birds]
  - {claim: Random is above, place: "A, 1", recipe: small, kind: above, rows: [Random], than: [Full]}
  - claim: Each is best on its own
    place: "A, 2"
    recipe: small
    kind: diagonal
    rows: {Birds: Birds alone, Cars: Cars alone}
  - claim: Birds gain more
    place: "A, 2"
    recipe: small
    kind: gain
    more: {rows: [Full], over: [Random], columns: [Birds]}
    less: {rows: [Full], over: [Random], columns: [Cars]}
  - {claim: The oracle is above, place: B, recipe: small, kind: above, rows: [Oracle], than: [Random]}
  - {claim: Deviates, place: B, recipe: small, kind: above, statistic: deviation, rows: [Random], than: [Trained]}
  - {claim: Epochs, place: B, recipe: small, kind: spread, statistic: epoch, rows: [Birds alone, Cars alone], most: 5}
  - {claim: Validation, place: B, recipe: small, kind: above, split: val, rows: [Trained], than: [Cars alone]}
  - claim: Separate is no lower
    place: B
    recipe: small
    index: separate
    kind: above
    rows: [Random, Trained]
    against: {index: merged}
    columns: [Mean, Birds, Cars]
    least: 0
  - claim: Ranks
    place: B
    recipe: small
    kind: ranking
    rows: [Full, Random, Trained]
    against: {metric: R@1}
    least: 1
"""


def with_claims(world: World) -> Inventory:
    """The world's recipe is changed, and claims stand beside it."""
    world.recipe.path.write_text(RECIPE)
    path = world.recipe.path.with_name("claims.yaml")
    path.write_text(CLAIMS)
    return Inventory(read_recipe(path), world.workspace)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """Of claims whose rows are all measured."""
    world = small_world(tmp_path_factory.mktemp("claims"))
    world.write_store()
    inventory = with_claims(world)
    for other in inventory.compared.values():
        sweep(other.runs(), "cpu")
    return Inventory(inventory.recipe, world.workspace)


def values(inventory: Inventory, row: str, metric: str = "mMP@5", index: str = "merged"):
    """The row's seeds, averaged query by query."""
    runs = inventory.compared["small"].runs_of[row]
    return averaged([ScoredFolder(run.path).values(index, metric) for run in runs])


@pytest.mark.slow
def test_measured_claims_are_those_of_the_runs_by_plain_formulas(inventory: Inventory):
    of = checks(inventory)
    means = {row: values(inventory, row).means() for row in ("Full", "Random", "Birds alone", "Cars alone")}
    differences = {column: means["Full"][column] - means["Random"][column] for column in ("Mean", "birds", "cars")}
    full, random = values(inventory, "Full"), values(inventory, "Random")
    p = permutation_p(full, (full.values - random.values)[:, None], FLIPS, np.random.default_rng(0))

    above = of["Full is above"].measured
    assert above.verdict == (Verdict.HOLDS if min(differences["Mean"], differences["birds"]) > 0 else Verdict.FAILS)
    assert above.verdict == Verdict.HOLDS, "features that cluster lose by a projection to 4 dimensions"
    least_sure = max(("Mean", "birds"), key=lambda column: (p[column][0], -differences[column]))
    assert above.p == p[least_sure][0]
    assert above.amount == pytest.approx(100 * differences[least_sure])

    below = of["Random is above"].measured
    assert below.verdict == Verdict.FAILS
    assert below.amount == pytest.approx(-100 * differences["Mean"])
    assert below.p == p["Mean"][0]

    own = [
        100 * (means[f"{name} alone"][domain] - means[f"{other} alone"][domain])
        for name, other, domain in (("Birds", "Cars", "birds"), ("Cars", "Birds", "cars"))
    ]
    best = of["Each is best on its own"].measured
    assert (best.verdict == Verdict.HOLDS) == (min(own) > 0)
    assert best.amount == pytest.approx(min(own)) or best.verdict == Verdict.HOLDS

    lost = dict(full.by_domain(full.values - random.values))
    _, welch = ttest_ind(lost["birds"], lost["cars"], equal_var=False)
    gain = of["Birds gain more"].measured
    assert gain.amount == pytest.approx(100 * (differences["birds"] - differences["cars"]))
    assert gain.p == pytest.approx(welch, abs=0.02), "the normal distribution in the place of Student's"


def test_specialists_deviations_epochs_validation_and_ranks_are_those_of_the_runs(inventory: Inventory):
    of, runs = checks(inventory), inventory.compared["small"].runs_of

    def mean(row: str, metric: str = "mMP@5") -> float:
        scores = (run.scores.test.of("clean", "merged").mean[metric] for run in runs[row])
        return 100 * statistics.fmean(value for value in scores if value is not None)

    def deviation(row: str) -> float:
        return 100 * statistics.stdev(run.scores.test.of("clean", "merged").value("mMP@5") for run in runs[row])

    def val(row: str) -> float:
        return 100 * statistics.fmean(run.scores.val.value("mMP@5") for run in runs[row] if run.scores.val)

    oracle = [100 * run.scores.test.of("clean", "merged").value("mMP@5", run.config.domain) for run in runs["Oracle"]]
    assert of["The oracle is above"].measured.amount == pytest.approx(statistics.fmean(oracle) - mean("Random"))
    assert of["The oracle is above"].measured.p is not None
    assert of["Deviates"].measured.amount == pytest.approx(deviation("Random") - deviation("Trained"))
    assert of["Validation"].measured.amount == pytest.approx(val("Trained") - val("Cars alone"))
    epochs = [
        statistics.fmean(run.scores.selected_epoch or 0 for run in runs[f"{name} alone"]) for name in ("Birds", "Cars")
    ]
    assert of["Epochs"].measured.amount == pytest.approx(max(epochs) - min(epochs))
    ranked = [[mean(row, metric) for row in ("Full", "Random", "Trained")] for metric in ("mMP@5", "R@1")]
    assert of["Ranks"].measured.amount == pytest.approx(spearmanr(ranked[0], ranked[1])[0])
    assert [of[name].measured.p for name in ("Deviates", "Validation", "Epochs", "Ranks")] == [None] * 4
    assert of["Separate is no lower"].measured.verdict == Verdict.HOLDS


def test_the_answers_of_the_tests_are_kept_until_a_run_has_changed(inventory: Inventory):
    first = build_table(inventory)
    kept = inventory.workspace.tables / ".significance" / "claims.json"
    p = json.loads(kept.read_text())
    kept.write_text(json.dumps({key: [0.25] * len(of) for key, of in p.items()}))
    told = {row.name: cell.mean for row in build_table(inventory).rows if (cell := row.cell("p", "p"))}
    assert set(told.values()) == {0.25}
    kept.write_text("{")
    assert build_table(inventory) == first
    file = inventory.compared["small"].runs_of["Full"][0].path / "per_query.parquet"
    content = file.read_bytes()
    file.unlink()
    without = build_table(inventory)
    file.write_bytes(content)
    assert any("per_query.parquet is not there" in note for note in without.notes)
    verdicts, untested = ([row.cells["here"]["here"].text or "" for row in table.rows] for table in (first, without))
    assert [text.removesuffix(" ≈") for text in untested] == [text.removesuffix(" ≈") for text in verdicts]


def text_of(table: Table) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    show(table, console)
    return console.export_text()


def test_a_table_has_a_row_a_claim_in_every_format(inventory: Inventory):
    table = build_table(inventory)
    assert [row.name for row in table.rows] == [claim.claim for claim in inventory.recipe.claims.claims]  # type: ignore[union-attr]
    assert table.columns == ["print", "here", "difference", "p", "rows"]
    assert table.commands == []
    assert is_begun(table)
    assert rows_text(table) == "10/10"
    written = {suffix: write(table) for suffix, write in FORMATS.items()} | {"terminal": text_of(table)}
    for suffix, text in written.items():
        assert "Random is above" in text, suffix
        assert "does not hold" in text, suffix
        assert "A, 1" in text, suffix
    lines = {(line["row"], line["column"]): line["measured"] for line in csv.DictReader(io.StringIO(written["csv"]))}
    checked = checks(inventory)
    for name, each in checked.items():
        assert lines[name, "here"].removesuffix(" ≈") == each.measured.verdict
        assert float(lines[name, "difference"]) == pytest.approx(each.measured.amount)
        assert (float(lines[name, "p"]) if (name, "p") in lines else None) == each.measured.p
    assert lines["Birds gain more", "rows"] == "(Full - Random, Birds) - (Full - Random, Cars)"


def test_what_is_not_measured_says_what_it_lacks_and_what_to_run(world: World):
    inventory = with_claims(world)
    table = build_table(inventory)
    assert {row.cells["here"]["here"].text for row in table.rows} == {"not measured"}
    assert table.rows[0].cells["rows"]["rows"].text == "lacks 2 rows of small"
    assert table.commands[0].startswith(f"probe plan {inventory.recipe.path} --data-root")
    assert not is_begun(table)
    assert rows_text(table) == "0/10"
    plan = make_plan([inventory], Planner(world.workspace))
    assert [step.command.split()[:2] for step in plan.steps] == [["probe", "extract"], ["probe", "fit"]]
    assert plan.steps[-1].completes == ("small",)
    both = make_plan([inventory, *inventory.compared.values()], Planner(world.workspace))
    assert both.steps == plan.steps


def test_rows_that_are_printed_only_are_never_waited_for():
    told = {
        row.name: row for row in build_table(Inventory(read_recipe(ROOT / "recipes" / "claims.yaml"), NOWHERE)).rows
    }
    row = told["It is above the second place"]
    assert row.cells["rows"]["rows"].text == "printed only: unifex_table6: 2nd place"
    assert row.relation.compared == "printed-only"
    assert told["It is 3.3 points above the fifth, whose head alone is trained too"].relation.compared is None
