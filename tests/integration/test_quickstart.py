"""The quickstart, run once in small, and beside it what the README and docs/ say; of the whole one, which `make table`
runs, the closed forms."""

import csv
import json
import shlex
import shutil
import signal
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from probe.recipes.recipe import read_recipe
from tests.integration.commands import ROOT, Shell, blocks, commands, photos, readme_blocks, readme_commands

PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
SLOW = (
    "claims.md",
    "data.md",
    "json.md",
    "evaluation.md",
    "extraction.md",
    "fitting.md",
    "heads.md",
    "report.md",
    "store.md",
    "tables.md",
)
PAGES_RUN = [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in PAGES]


Lines = dict[tuple[str, str, str], dict[str, str]]


def table(shell: Shell) -> Lines:
    with (shell.home / "out" / "tables" / "quickstart.csv").open() as file:
        return {(line["row"], line["column"], line["metric"]): line for line in csv.DictReader(file)}


def files_with_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def lines(quickstart: Shell) -> Lines:
    """Of the table, by row, column and metric."""
    return table(quickstart)


def test_trained_heads_beat_pca_whitening_and_random_projection_on_unseen_classes(lines: Lines):
    mean = {row: float(line["measured"]) for (row, *place), line in lines.items() if place == ["Mean", "mMP@5"]}
    untrained = max(mean["PCA-whitening"], mean["Random projection"], mean["Average pooling"])
    assert mean["ArcFace"] > untrained
    assert mean["Sub-Center ArcFace (K = 3)"] > untrained


@pytest.mark.slow
def test_the_discriminant_beats_raw_features_and_scores_what_was_measured(shell: Shell):
    names = ["Full dimension", "PCA-whitening", *(f"Discriminant{dim}" for dim in ("", ", 128-d", ", 256-d"))]
    shell("probe extract sample --backbone descriptor")
    shell(f"probe fit recipes/quickstart.yaml {' '.join(f'--row {shlex.quote(name)}' for name in names)}")
    measured: dict[tuple[str, int, str], float] = {}
    for run in (shell.home / "out" / "runs").iterdir():
        scores = json.loads((run / "metrics.json").read_text())
        kind = yaml.safe_load((run / "config.yaml").read_text())["config"]["head"]["kind"]
        mean = scores["test"]["clean"]["merged"]["mean"]
        measured |= {(kind, scores["dim"], metric): 100 * value for metric, value in mean.items()}
    for dim, mmp, r in [(64, 73.5, 88.7), (128, 74.5, 88.9), (256, 71.9, 88.9)]:
        assert measured["discriminant", dim, "mMP@5"] == pytest.approx(mmp, abs=0.5)
        assert measured["discriminant", dim, "R@1"] == pytest.approx(r, abs=0.5)
    others = (measured["full-dimension", 1216, "mMP@5"], measured["pca-whitening", 64, "mMP@5"])
    assert measured["discriminant", 64, "mMP@5"] > 10 + max(others)


def test_the_table_has_every_domain_and_three_seeds_with_their_spread(lines: Lines):
    assert {column for _, column, _ in lines} == {
        "Mean", "coins", "digits", "garage", "microscopy", "photographs", "sky", "textures",
    }  # fmt: skip
    trained = lines["ArcFace", "Mean", "mMP@5"]
    assert trained["seeds"] == "3"
    assert float(trained["std"]) > 0


def test_claims_of_ones_own_are_checked_on_the_runs_that_are_there(quickstart: Shell, tmp_path: Path):
    shutil.copy(quickstart.home / "recipes" / "quickstart.yaml", tmp_path)
    [page] = blocks((ROOT / "docs" / "claims.md").read_text(), "yaml")
    (tmp_path / "ours.yaml").write_text(page)
    said = quickstart(f"probe table {tmp_path / 'ours.yaml'}").stdout
    assert "A trained head is better than PCA-whitening" in said
    with (quickstart.home / "out" / "tables" / "ours.csv").open() as file:
        ours = {(line["row"], line["column"]): line["measured"] for line in csv.DictReader(file)}
    claim, lines = "A trained head is better than PCA-whitening", table(quickstart)
    mean = {row: float(lines[row, "Mean", "mMP@5"]["measured"]) for row, *_ in lines}
    assert ours[claim, "here"].startswith("holds")
    assert float(ours[claim, "difference"]) in [
        pytest.approx(mean[row] - mean["PCA-whitening"]) for row in ("ArcFace", "Sub-Center ArcFace (K = 3)")
    ]
    assert 0 < float(ours[claim, "p"]) <= 1
    assert {row for row, _ in ours} == {
        claim, *(f"{row}: the trained head gains more on digits than on coins" for row in mean if "ArcFace" in row)
    }  # fmt: skip


def test_asked_again_nothing_is_computed_or_written_anew(quickstart: Shell):
    folders = [quickstart.home / name for name in ("data", "features")] + [quickstart.home / "out" / "runs"]
    before = [files_with_times(folder) for folder in folders]
    quickstart("probe table recipes/quickstart.yaml")
    quickstart("probe fit recipes/quickstart.yaml")
    assert [files_with_times(folder) for folder in folders] == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics_file(quickstart: Shell, tmp_path: Path):
    quickstart(f"probe fit recipes/quickstart.yaml --out {tmp_path}")
    again = {path.parent.name: path.read_bytes() for path in (tmp_path / "runs").glob("*/metrics.json")}
    first = {path.parent.name: path.read_bytes() for path in (quickstart.home / "out" / "runs").glob("*/metrics.json")}
    assert len(first) == 9
    assert again == first


@pytest.mark.slow
def test_a_changed_configuration_is_fitted_and_the_finished_runs_are_kept(quickstart: Shell, tmp_path: Path):
    out = tmp_path / "out"
    shutil.copytree(quickstart.home / "out", out)
    text = (quickstart.home / "recipes" / "quickstart.yaml").read_text().replace("sub_centers: 3", "sub_centers: 2")
    (tmp_path / "changed.yaml").write_text(text)
    done = quickstart(f"probe fit {tmp_path / 'changed.yaml'} --out {out}")
    assert "1 run(s) fitted, 8 already done" in done.stderr


@pytest.mark.slow
def test_an_interrupted_sweep_keeps_its_finished_runs_and_says_so(quickstart: Shell, tmp_path: Path):
    runs = tmp_path / "runs"
    process = quickstart.start(f"probe fit recipes/quickstart.yaml --out {tmp_path}")
    while len(list(runs.glob("descriptor_*"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted: what is finished is kept" in said
    assert "Traceback" not in said
    finished = list(runs.glob("descriptor_*"))
    assert 3 <= len(finished) < 12
    for run in finished:
        first = quickstart.home / "out" / "runs" / run.name
        assert (run / "metrics.json").read_bytes() == (first / "metrics.json").read_bytes()


@pytest.mark.slow
def test_a_head_is_scored_on_a_folder_of_ones_own_once(quickstart: Shell, tmp_path: Path):
    folder = photos(tmp_path / "photos", classes=20)
    [run] = (quickstart.home / "out" / "runs").glob("descriptor_linear_arcface_seed0_*")
    evaluate = f"probe evaluate {run} --data {folder}"
    extract = f"probe extract {folder} --backbone descriptor --split test"
    assert f"First run: {extract}" in quickstart(evaluate, 2).stderr
    quickstart(extract)
    first = quickstart(evaluate)
    assert "photos" in first.stdout
    [written] = (quickstart.home / "out" / "evaluations").glob(f"{run.name}_test_*")
    assert json.loads((written / "metrics.json").read_text())["clean"]["merged"]["domains"]["photos"]["queries"] == 20
    before = files_with_times(written)
    assert quickstart(evaluate).stdout == first.stdout
    assert files_with_times(written) == before


def test_per_query_values_average_to_the_table(quickstart: Shell):
    [run] = (quickstart.home / "out" / "runs").glob("descriptor_linear_arcface_seed0_*")
    metrics = json.loads((run / "metrics.json").read_text())["test"]["clean"]["merged"]
    per_query = pl.read_parquet(run / "per_query.parquet")
    means = dict(per_query.group_by("domain").agg(pl.col("mMP@5").mean()).iter_rows())
    assert means.keys() == metrics["domains"].keys()
    for domain, value in means.items():
        assert abs(value - metrics["domains"][domain]["mMP@5"]) < 1e-12


LONG = ("probe extract", "probe report", "probe data check", "probe fit", "probe evaluate")
TOUR = [
    pytest.param(line, marks=[pytest.mark.slow] if line.startswith(LONG) else [], id=line.partition("  ")[0])
    for line in readme_commands("A tour")
]


@pytest.mark.parametrize("command", TOUR)
def test_a_command_of_the_readmes_tour_runs(quickstart: Shell, command: str):
    quickstart(command)


def test_the_tour_has_commands():
    assert len(TOUR) >= 4


def test_the_readmes_python_reads_the_store(quickstart: Shell):
    [code] = readme_blocks("Where things are", "python")
    code += "features = store.load(['digits/digit-7/03.jpg']); print(features.shape, features.dtype)"
    assert quickstart(f"python -c {shlex.quote(code)}").stdout == "(1, 1216) float16\n"


@pytest.mark.slow
def test_the_readmes_five_lines_lead_from_photographs_to_vectors(shell: Shell):
    photos(shell.home / "photos", classes=40)
    [code] = readme_blocks("Your photographs as vectors", "python")
    assert len([line for line in code.splitlines() if line]) == 5
    shell.python(code + "assert vectors.shape == (160, 64) and nearest[0, 0] == 0")


def test_the_readmes_recipe_is_a_valid_one(tmp_path: Path):
    [text] = readme_blocks("Recipes", "yaml")
    (tmp_path / "recipe.yaml").write_text(text)
    assert len(read_recipe(tmp_path / "recipe.yaml").rows) == 3


@pytest.mark.parametrize("page", PAGES_RUN)
def test_the_commands_of_a_page_run_as_they_stand(quickstart: Shell, page: str):
    for line in commands(blocks((ROOT / "docs" / page).read_text(), "sh")):
        quickstart(line)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if page == "api.md" else []) for page in PAGES]
)
def test_the_python_of_a_page_runs_as_it_stands(quickstart: Shell, page: str):
    quickstart.python("\n".join(blocks((ROOT / "docs" / page).read_text(), "python")))


@pytest.mark.slow
def test_imported_features_are_fitted_and_scored_like_extracted_ones(quickstart: Shell, tmp_path: Path) -> None:
    quickstart(f"probe cache export sample/descriptor {tmp_path}/d.npy")
    quickstart(f"probe cache import {tmp_path}/d.npy --ids {tmp_path}/d.ids.txt --source sample --name mine")
    rows = "rows: [{name: %s, backbone: %s, head: {kind: pca-whitening, dim: 64}}]"
    printed = []
    for name, backbone in (("theirs", "foreign:mine"), ("ours", "descriptor"), ("absent", "foreign:absent")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text("title: A table\ndata: sample\n" + rows % (name, backbone))
        if name == "absent":
            assert (
                "probe cache import FILE --source SOURCE --name absent" in quickstart(f"probe fit {recipe}", 2).stderr
            )
        else:
            quickstart(f"probe fit {recipe}")
            printed.append(quickstart(f"probe table {recipe}").stdout.split(name)[1].splitlines()[0].split())
    assert printed[0] == printed[1]
    text = quickstart("probe extract sample --backbone foreign:mine", 2).stderr
    assert "were made elsewhere" in text
    quickstart("probe cache drop sample/foreign-mine --yes")
