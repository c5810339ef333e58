"""Marks and intervals of a table, and `probe compare`, on the per-query files of small made-up runs."""

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from probe.cli import app
from probe.errors import UsageError
from probe.metrics import holm
from probe.planning.inventory import Inventory
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.render.standing import SYMBOLS
from probe.report.significance import compare_rows
from probe.report.table import build_table
from probe.runs import ScoredFolder, sweep
from tests.report.world import World

QUERIES = 120


def run(folder: Path, name: str, hits: np.ndarray, queries: int = QUERIES) -> Path:
    """A run's folder: `hits` of queries of two domains."""
    path = folder / name
    path.mkdir()
    (path / "metrics.json").write_text("{}")
    rows = pl.DataFrame({"image": [f"{i:03d}.jpg" for i in range(queries)], "source": "photos", "n": 2})
    domain = pl.Series("domain", ["birds", "cars"] * (queries // 2))
    label = pl.Series("label", [f"class{i // 4}" for i in range(queries)])
    rows = rows.with_columns(domain, label, pl.Series("R@1", hits[:queries].astype(float)))
    rows.with_columns(pl.col("R@1").alias("mMP@5")).write_parquet(path / "per_query.parquet")
    return path


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, list[Path]]:
    """The best, one a little below it, one far below."""
    rng = np.random.default_rng(0)
    best = rng.random(QUERIES) < 0.9
    near, far = best.copy(), best & (rng.random(QUERIES) < 0.6)
    near[np.flatnonzero(best)[0]] = False
    return {
        "Far": [run(tmp_path, "far_seed0", far)],
        "Best": [run(tmp_path, f"best_seed{seed}", best) for seed in range(2)],
        "Near": [run(tmp_path, "near_seed0", near)],
    }


def test_a_row_just_below_the_best_is_tied_with_it_and_one_far_below_is_not(runs: dict[str, list[Path]]) -> None:
    found = compare_rows(runs, "Best", "R@1", "merged")
    assert found.tied == {"Near"}
    assert not found.notes
    for row, folders in runs.items():
        low, high = found.intervals[row]["Mean"]
        assert low < ScoredFolder(folders[0]).values("merged", "R@1").means()["Mean"] < high


def test_each_row_is_compared_with_each_other_by_holm_over_those(runs: dict[str, list[Path]]) -> None:
    found = compare_rows(runs, "Best", "R@1", "merged")
    assert {row: of_row.keys() for row, of_row in found.pairs.items()} == {
        "Best": {"Far", "Near"},
        "Far": {"Best", "Near"},
        "Near": {"Best", "Far"},
    }
    assert found.pairs["Best"] == found.p
    assert found.pairs["Far"]["Near"] < 0.01 < found.pairs["Near"]["Best"]
    assert found.pairs["Near"]["Best"] == found.pairs["Best"]["Near"], "each the larger of its two"


@pytest.mark.slow
def test_the_pairs_of_a_hundred_rows_take_seconds(runs: dict[str, list[Path]]) -> None:
    many = {f"Far {i}": runs["Far"] for i in range(97)}
    found = compare_rows(many | runs, "Best", "R@1", "merged")
    assert len(found.pairs) == 100
    assert {len(of_row) for of_row in found.pairs.values()} == {99}
    assert found.pairs["Far 3"]["Far 60"] == 1


def test_many_rows_that_are_worse_are_told_from_the_best(runs: dict[str, list[Path]]) -> None:
    many = {f"Far {i}": runs["Far"] for i in range(60)}
    assert compare_rows(many | runs, "Best", "R@1", "merged").tied == {"Near"}


def test_a_row_of_specialists_is_compared_by_each_on_its_own_domain(runs: dict[str, list[Path]]) -> None:
    [far], (best, _) = runs["Far"], runs["Best"]
    found = compare_rows(
        runs | {"Specialists": [{"birds": best, "cars": far}, {"birds": best, "cars": best}]}, "Best", "R@1", "merged"
    )
    assert found.intervals["Specialists"]["birds"] == found.intervals["Best"]["birds"]
    assert found.intervals["Specialists"]["cars"] != found.intervals["Best"]["cars"]
    assert not found.notes


def test_holms_adjusted_p() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.7, 0.6])) == pytest.approx([1, 1])


def test_rows_whose_values_are_damaged_gone_or_of_other_queries_are_said(runs: dict[str, list[Path]]) -> None:
    folder = runs["Best"][0].parent
    (runs["Near"][0] / "per_query.parquet").write_bytes(b"PAR1 no")
    (runs["Far"][0] / "per_query.parquet").unlink()
    runs["Other"] = [run(folder, "other", np.ones(80), 80)]
    found = compare_rows(runs, "Best", "R@1", "merged")
    assert found.tied == set()
    assert found.intervals.keys() == {"Best", "Other"}
    damaged, gone, other = sorted(found.notes, key=lambda note: ["Near", "Far", "Othe"].index(note[5:9].strip("'")))
    assert "'Near' is not compared with the best, 'Best'" in damaged
    assert "cannot be read" in damaged
    assert "is not there" in gone
    assert "40 of 120 queries of best_seed0 are not in other" in other


def test_where_the_best_row_cannot_be_read_no_row_is_compared(runs: dict[str, list[Path]]) -> None:
    (runs["Best"][1] / "per_query.parquet").unlink()
    found = compare_rows(runs, "Best", "R@1", "merged")
    assert not found.tied
    [note] = found.notes
    assert note.startswith("no row is compared with the best, 'Best': ")


def test_a_folder_that_is_no_run_and_an_index_that_was_not_scored_are_errors(runs: dict[str, list[Path]]) -> None:
    path = runs["Best"][0]
    with pytest.raises(UsageError, match="is not a finished run; name folders that `probe fit` or `probe evaluate`"):
        ScoredFolder(path.parent).values("merged", "R@1")
    with pytest.raises(UsageError, match="the separate index was not scored"):
        ScoredFolder(path).values("separate", "R@1")
    with pytest.raises(
        UsageError,
        match=r"has no values of 'MRR@10' \(it has .*R@1.*\); .*`probe evaluate \.\.\. --metric MRR@10` writes\.",
    ):
        ScoredFolder(path).values("merged", "MRR@10")
    with pytest.raises(UsageError, match=r"'r@1' is no metric; did you mean 'R@1'\?"):
        ScoredFolder(path).values("merged", "r@1")


@pytest.mark.slow
def test_a_measured_table_has_marks_intervals_and_survives_a_damaged_file(world: World) -> None:
    world.write_store()
    runs = Inventory(world.recipe, world.workspace).runs()
    sweep(runs, "cpu")
    table = build_table(Inventory(world.recipe, world.workspace))
    lines = [line for line in csv.DictReader(io.StringIO(long_csv(table))) if line["measured"]]
    assert len(lines) >= 2 * 3 * 2
    for line in lines:
        assert float(line["low"]) <= float(line["measured"]) <= float(line["high"])
    tied = {row for found in table.significance.values() for row in found.tied}
    text = markdown(table)
    explained = f"{SYMBOLS['tied']}: no significant difference from the best measured mean"
    assert (f" {SYMBOLS['tied']} |" in text) == (explained in text) == bool(tied)
    (runs[0][0].path / "per_query.parquet").write_bytes(b"nothing")
    damaged = build_table(Inventory(world.recipe, world.workspace))
    assert any("cannot be read" in note for note in damaged.notes)
    assert [row.cells for row in damaged.rows] == [row.cells for row in table.rows]
    assert SYMBOLS["tied"] not in markdown(damaged)


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["compare", *map(str, words)])
    return done.exit_code, done.output


def test_compare_prints_a_line_a_domain_and_the_mean(runs: dict[str, list[Path]]) -> None:
    code, text = command(*runs["Best"], "--against", *runs["Far"], "--metric", "R@1")
    assert code == 0
    assert [name for name in ("birds", "cars", "Mean") if f"│ {name}" in text] == ["birds", "cars", "Mean"]
    assert "A: best_seed0, best_seed1\nB: far_seed0\n" in text
    assert command(*runs["Best"], "--against", *runs["Far"], "--metric", "R@1", "--seed", "0") == (code, text)


def test_all_that_follows_against_is_on_its_side(runs: dict[str, list[Path]]) -> None:
    one, other = runs["Best"]
    code, text = command(*runs["Far"], f"--against={one}", other, "--index", "merged")
    assert code == 0
    assert "A: far_seed0\nB: best_seed0, best_seed1\n" in text
    assert command(*runs["Far"], "--against", one, "--against", other) == (code, text)


def test_what_cannot_be_compared_is_one_sentence(runs: dict[str, list[Path]]) -> None:
    far, (one, other) = runs["Far"][0], runs["Best"]
    part = run(far.parent, "part", np.ones(80), 80)
    for words, says in (
        ((far, "--against", far.parent), "is not a finished run"),
        ((far, "--against", part), "40 of 120 queries of far_seed0 are not in part"),
        ((one, part, "--against", far), "40 of 120 queries of best_seed0 are not in part"),
        ((one, one, "--against", other), "best_seed0 is named twice on one side"),
        ((one, "--against", far, "--metric", "mMP@50"), "(it has R@1, mMP@5); compare the folder that `probe"),
        ((one, "--against", far, "--index", "separate"), "the separate index was not scored"),
    ):
        code, text = command(*words)
        assert code == 2
        assert says in text
        assert text.count("\n") == 1
    assert command(far)[0] == command("--against", far)[0] == 2
