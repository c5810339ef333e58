"""`probe table` before it works: every recipe is read first, and no figure is drawn for it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from probe.cli import app
from probe.planning.machine import this_machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("rows: [{name: A, backbone: descriptor, head: {kind: full-dimension}, seds: [1]}]", "did you mean 'seeds'"),
        ("rows: [{name: A, backbone: descriptr, head: {kind: full-dimension}}]", "did you mean 'descriptor'"),
        ("rows: [{name: A, backbone: descriptor, head: {kind: full-dimension}, printed: X}]", "no `reference` file"),
    ],
)
def test_a_recipe_that_asks_for_something_unknown_stops_everything_before_any_work(
    tmp_path: Path, fault: str, said: str
):
    good = "title: Good\ndata: sample\nrows: [{name: A, backbone: descriptor, head: {kind: full-dimension}}]\n"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a_good.yaml").write_text(good)
    (tmp_path / "recipes" / "b_bad.yaml").write_text(f"title: Bad\ndata: sample\n{fault}\n")
    places = [f"--{name}={tmp_path / name}" for name in ("data-root", "cache", "out")]
    done = CliRunner().invoke(app, ["table", str(tmp_path / "recipes"), *places])
    assert done.exit_code == 2
    assert said in done.output
    assert "b_bad.yaml" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["recipes"]


@pytest.mark.slow
def test_a_table_of_missing_runs_is_printed_without_matplotlib(tmp_path: Path):
    places = [f"--{name}={tmp_path / name}" for name in ("data-root", "cache", "out")]
    words = ["table", "pocket", "uned_supp_s5", *places]
    code = f"import sys; from probe.cli import app; app({words}, standalone_mode=False)"
    code += "; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False"
    assert "probe fit" in done.stdout


def test_of_a_folder_what_is_not_begun_is_a_line_and_written_all_the_same(tmp_path: Path):
    absent = "title: Absent\ndata: absent\nrows: [{name: A, backbone: descriptor, head: {kind: full-dimension}}]\n"
    recipe = tmp_path / "recipes" / "absent.yaml"
    recipe.parent.mkdir()
    recipe.write_text(absent)
    places = [f"--{name}={tmp_path / name}" for name in ("data-root", "cache", "out")]
    line = CliRunner().invoke(app, ["table", str(recipe.parent), *places])
    whole = CliRunner().invoke(app, ["table", str(recipe), *places])
    assert (line.exit_code, whole.exit_code) == (0, 0)
    assert "0/1" in line.output
    assert re.search(rf"time, {this_machine().name}", line.output)
    assert "probe extract absent" not in line.output
    assert "probe extract absent" in whole.output
    assert (tmp_path / "out" / "tables" / "absent.md").exists()


def test_without_a_recipe_the_rest_is_one_line_and_with_all_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "recipes").mkdir()
    for name in ("one", "two"):
        absent = (
            f"title: {name}\ndata: absent\nrows: [{{name: A, backbone: descriptor, head: {{kind: full-dimension}}}}]\n"
        )
        (tmp_path / "recipes" / f"{name}.yaml").write_text(absent)
    monkeypatch.chdir(tmp_path)
    places = [f"--{name}={tmp_path / name}" for name in ("data-root", "cache", "out")]
    calm, every = (CliRunner().invoke(app, ["table", *words, *places]).output for words in ([], ["--all"]))
    assert "2 more tables of the papers: `probe table --all`, or `probe plan`" in calm
    assert "0/1" not in calm
    assert every.count("0/1") == 2


def test_times_are_those_of_the_machine_that_is_asked_for(tmp_path: Path):
    places = [f"--{name}={tmp_path / name}" for name in ("data-root", "cache", "out")]
    told = {
        name: CliRunner().invoke(app, ["plan", "uned_supp_s5", "--machine", name, *places]).output
        for name in ("cpu", "h100")
    }
    assert "at the speed of 2 CPU cores" in told["cpu"]
    assert "at the estimated speed of an H100" in told["h100"]
    assert "CPU" not in told["h100"]
