"""`probe fit` as a user runs it: changed on the command line, killed, interrupted, failing, side by side."""

import re
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.integration.commands import Shell
from tests.integration.conftest import EPOCHS

pytestmark = pytest.mark.slow  # the quickstart is run for this file alone

FIT = "probe fit recipes/quickstart.yaml"
COMPARED = ("metrics.json", "head.safetensors", "history.jsonl", "config.yaml")


def assert_equal_runs(some: Path, others: Path, count: int) -> None:
    """Runs of one folder against the runs of the same name in another."""
    runs = sorted(path for path in some.iterdir() if not path.name.startswith("."))
    assert len(runs) == count
    for run in runs:
        for name in COMPARED:
            assert (run / name).read_bytes() == (others / run.name / name).read_bytes(), run.name


@pytest.fixture(scope="session")
def finished(quickstart: Shell) -> Path:
    """The runs that nothing disturbed."""
    return quickstart.home / "out" / "runs"


def test_settings_seeds_and_rows_change_what_is_fitted(quickstart: Shell, finished: Path, tmp_path: Path):
    before = sorted(finished.iterdir())
    changes = "--row ArcFace --row Average\\ pooling --set training.epochs=2 --set loss.margin=0.3 --seeds 0,2"
    done = quickstart(f"{FIT} {changes} --out {tmp_path}")
    runs = sorted((tmp_path / "runs").iterdir())
    assert [run.name.rsplit("_", 1)[0] for run in runs] == [
        "descriptor_average-pooling_seed0_sample",
        "descriptor_linear_arcface_seed0_sample",
        "descriptor_linear_arcface_seed2_sample",
    ]
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())["config"]
    assert (config["training"]["epochs"], config["loss"]["margin"]) == (2, 0.3)
    assert "row 'Average pooling' keeps its own seeds: 0" in done.stderr
    table = done.stdout.splitlines()
    assert sum("│ ArcFace" in line for line in table) == 1
    assert next(line for line in table if "│ ArcFace" in line).split("│")[3].strip() == "2"
    assert "as changed by --set" in done.stderr
    assert sorted(finished.iterdir()) == before
    assert "3 already done" in quickstart(f"{FIT} {changes} --out {tmp_path}").stderr


def test_a_run_killed_between_epochs_goes_on_and_ends_with_the_same_bits(
    quickstart: Shell, finished: Path, tmp_path: Path
):
    for attempt in range(5):
        out = tmp_path / str(attempt)
        process = quickstart.start(f"{FIT} --row ArcFace --seeds 0 --out {out}")
        while not list(out.glob("runs/.*.partial/checkpoint.safetensors")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if list(out.glob("runs/.*.partial/checkpoint.safetensors")):
            break
    else:
        pytest.fail("the run was over before it could be killed, five times")
    assert not list(out.glob("runs/descriptor*"))
    said = quickstart(f"{FIT} --row ArcFace --seeds 0 --out {out}").stderr
    [left] = set(re.findall(r"fit: [\d,]+/([\d,]+) images", said))
    images = yaml.safe_load((next(finished.glob("*_arcface_seed0_*")) / "metrics.json").read_text())["training_images"]
    assert int(left.replace(",", "")) < EPOCHS * images, "what was done was not done again"
    assert_equal_runs(out / "runs", finished, 1)
    assert not list(out.glob("runs/.*"))


def test_ctrl_c_stops_all_that_goes_on_side_by_side(quickstart: Shell, finished: Path, tmp_path: Path):
    command = f"{FIT} --row ArcFace --jobs 2 --out {tmp_path}"
    process = quickstart.start(command)
    while not list(tmp_path.glob("runs/.*.partial/checkpoint.safetensors")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted: what is finished is kept; the same command goes on" in said
    assert "Traceback" not in said
    quickstart(command)
    assert len(list(tmp_path.glob("runs/descriptor_*"))) == 3
    assert not list(tmp_path.glob("runs/.*"))


@pytest.mark.slow
def test_ctrl_c_counts_while_the_processes_are_started(quickstart: Shell, tmp_path: Path):
    process = quickstart.start(f"{FIT} --row ArcFace --jobs 3 --out {tmp_path}")
    assert process.stderr
    while "side by side" not in process.stderr.readline() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted: what is finished is kept" in said
    assert "Traceback" not in said


def test_a_run_that_diverges_does_not_stop_the_others_and_is_reported(quickstart: Shell, tmp_path: Path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "title: A table\ndata: sample\n"
        "defaults: {backbone: descriptor, head: {kind: linear}, loss: {kind: arcface},\n"
        "           training: {epochs: 1}, seeds: [0]}\n"
        "rows:\n  - {name: Wild, training: {lr: 1.0e+30}}\n  - {name: Tame}\n"
        "  - {name: Too many, head: {kind: pca-whitening, dim: 2000}}\n"
    )
    done = quickstart(f"probe fit {recipe} --out {tmp_path}", 1)
    assert "2 of 3 run(s) failed, the others are done" in done.stderr
    assert "lower training.lr (now 1e+30)" in done.stderr
    assert "lower head.dim" in done.stderr
    assert re.search(r"Tame +│ +64 │ +1 │", done.stdout), "what was fitted is shown"
    assert re.search(r"Wild +│ +│ +0/1 │", done.stdout)
    assert len(list(tmp_path.glob("runs/descriptor_*"))) == 1
