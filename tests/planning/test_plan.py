"""A plan has each command once, in an order in which it can be run, and its scripts really run them."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.planning import Inputs, Inventory, Plan, Planner, Stage, Step, make_plan, shell_script, slurm_script
from probe.planning.duration import Estimate
from probe.planning.machine import MACHINES, find_machine
from probe.planning.plan import _first_sharing
from probe.recipes import read_recipe
from probe.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("unifex_table5", "uned_table4", "uned_supp_s5", "unifex_appendix_table1")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of four tables on a machine that has nothing."""
    return plan_of(TABLES, tmp_path_factory.mktemp("nowhere"))


def plan_of(tables: Sequence[str], nowhere: Path) -> Plan:
    workspace = Workspace(nowhere / "data", nowhere / "features", nowhere / "out")
    inputs = Inputs(workspace)
    recipes = [read_recipe(ROOT / "recipes" / f"{name}.yaml") for name in tables]
    return make_plan([Inventory(recipe, workspace, inputs) for recipe in recipes], Planner(workspace, "h100"))


def words(step: Step) -> str:
    """Without the options that say where things are."""
    return re.sub(r" --(data-root|cache|out) \S+", "", step.command)


def test_every_command_is_there_once_and_every_table_is_completed_once(plan: Plan):
    commands = [step.command for step in plan.steps]
    assert len(set(commands)) == len(commands)
    assert sorted(table for step in plan.steps for table in step.completes) == sorted(TABLES)


def test_one_extraction_serves_all_tables_with_the_splits_of_each(plan: Plan):
    of_uned = [words(step) for step in plan.steps if "extract uned " in step.command]
    assert len({line.split(" --split")[0] for line in of_uned}) == len(of_uned)
    [shared] = [step for step in plan.steps if words(step) == "probe extract uned --backbone uned-in " + CATALOGUE]
    assert shared.tables == {"uned_table4", "uned_supp_s5"}


CATALOGUE = f"--catalogue {ROOT / 'recipes' / 'uned_table4.yaml'}"


def test_data_that_training_sets_are_drawn_from_are_missing_data_too(plan: Plan):
    uned, m4d, appendix = plan.missing
    assert uned.startswith("the data set 'uned' is not complete")
    assert m4d.startswith("m4d-35k: drawn from data that is not, or not complete, below")
    assert appendix.startswith("a1-products-10k, ")
    assert "products-10k (https://products-10k.github.io), gldv2 (https://github.com/cvdfoundation/" in m4d


def test_an_encoder_that_several_recipes_describe_alike_is_one_extraction(tmp_path: Path):
    found = plan_of(("pocket", "pocket-losses", "pocket-regimes"), tmp_path)
    [mobilenet] = [step for step in found.steps if "mobilenetv1 " in step.command]
    assert mobilenet.tables == {"pocket", "pocket-losses", "pocket-regimes"}


def test_runs_that_tables_share_take_their_time_once(tmp_path: Path):
    shared, alone = plan_of(("uned_table4", "uned_supp_s4"), tmp_path), plan_of(("uned_table4",), tmp_path)
    fits = [step.time.seconds for each in (shared, alone) for step in each.of_stage(Stage.fit) if step.time]
    assert len(fits) == 3
    assert min(fits[:2]) > 0
    assert sum(fits[:2]) == pytest.approx(fits[2])
    after = plan_of(("uned_supp_s3", "uned_supp_s1", "uned_supp_s4"), tmp_path).of_stage(Stage.fit)[-1]
    assert (after.time and after.time.seconds, after.completes) == (0.0, ("uned_supp_s4",))


def test_what_writes_the_same_stores_or_runs_is_never_side_by_side(tmp_path: Path):
    found = plan_of(("guiec-6th-place", "uned_table6", "uned_table4", "unifex_table5", "uned_supp_s4"), tmp_path)
    extracted = [[words(step) for step in task] for task in found.tasks(Stage.extract)]
    of_vit_h = "probe extract {} --backbone openclip-vit-h14-projected"
    assert [of_vit_h.format("m4d-35k"), of_vit_h.format("uned") + " --split val --split test"] in extracted
    fitted = [{table for step in task for table in step.completes} for task in found.tasks(Stage.fit)]
    assert {"uned_table4", "uned_supp_s4"} in fitted
    assert {"unifex_table5"} in fitted


def test_tables_that_share_runs_with_one_between_them_are_one_task():
    runs = {"a": ["1"], "b": ["2"], "c": ["3"], "d": ["3", "1"], "e": []}
    assert _first_sharing(runs) == {"a": "a", "b": "b", "c": "a", "d": "a", "e": "e"}


def test_a_table_is_completed_when_all_that_it_needs_was_run_and_not_later(plan: Plan):
    for place, step in enumerate(plan.steps):
        for table in step.completes:
            needed = [i for i, other in enumerate(plan.steps) if table in other.tables and other is not step]
            assert max(needed) < place
            between = plan.steps[max(needed) + 1 : place]
            assert all(other.stage == Stage.fit for other in between)


def test_what_serves_more_tables_comes_first(plan: Plan):
    for stage in (Stage.draw, Stage.extract):
        served = [len(step.tables) for step in plan.of_stage(stage)]
        assert served == sorted(served, reverse=True)


def test_features_take_two_bytes_a_value(plan: Plan):
    [step] = [
        step for step in plan.steps if words(step) == "probe extract m4d-35k --backbone siglip-so400m-14-384@train"
    ]
    assert step.bytes == 328_400 * 1152 * 2


def test_side_by_side_a_stage_takes_no_less_than_its_longest_command():
    times = [Estimate(seconds, "") for seconds in (60.0, 30.0, 30.0)]
    steps = [Step(str(i), Stage.extract, frozenset("t"), time) for i, time in enumerate(times)]
    whole = Plan([*steps, Step("f", Stage.fit, frozenset("t"), Estimate(10.0, ""))], [], 1)
    assert whole.seconds() == 130
    assert whole.seconds(devices=2) == 70
    assert whole.seconds(devices=100) == 70
    assert Plan([replace(step, writes="store") for step in steps], [], 1).seconds(devices=3) == 120


def test_a_machine_that_is_not_known_gets_the_nearest():
    with pytest.raises(UsageError, match="h100"):
        find_machine("h10")


STEPS = [
    Step("echo 'draw a' >> log", Stage.draw, frozenset("t")),
    Step("echo extract >> log", Stage.extract, frozenset("tu"), writes="clip"),
    Step("false", Stage.extract, frozenset("u")),
    Step("echo 'extract more' >> log", Stage.extract, frozenset("t"), writes="clip"),
    Step("echo fit >> log", Stage.fit, frozenset("t"), completes=("t",)),
]
SBATCH = """#!/usr/bin/env bash
job=$(mktemp); cat > "$job"
for word in "$@"; do case $word in --array=*) last=${word##*-}; last=${last%\\%*};; esac; done
echo "$@" >> submitted
for i in $(seq 0 "$last"); do SLURM_ARRAY_TASK_ID=$i bash "$job" || true; done
echo 17
"""


def test_the_shell_script_runs_all_and_tells_what_failed(tmp_path: Path):
    steps = [Step("bash -c '{}'".format(s.command.replace("'", '"')), s.stage, s.tables) for s in STEPS]
    script = shell_script(Plan(steps, [], 2), "probe plan --sh")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "log").read_text().splitlines() == ["draw a", "extract", "extract more", "fit"]
    assert done.returncode == 1
    assert "failed: bash -c false" in done.stderr


def test_ctrl_c_stops_the_shell_script_and_not_its_command_alone(tmp_path: Path):
    caught = "bash -c \"trap 'exit 130' INT; touch started; sleep 60\""  # as probe does: it says so, and ends
    steps = [Step(command, Stage.fit, frozenset("t")) for command in (caught, "touch second")]
    (tmp_path / "plan.sh").write_text(shell_script(Plan(steps, [], 1), "probe plan --sh"))
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # in the background, a shell has it ignored
    running = subprocess.Popen(["bash", "plan.sh"], cwd=tmp_path, start_new_session=True, preexec_fn=heed)
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    assert running.wait(10) == 130
    assert not (tmp_path / "second").exists()


def test_the_slurm_script_submits_an_array_a_stage_that_waits_for_the_one_before(tmp_path: Path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    script = slurm_script(Plan(STEPS, [], 2), "probe plan --slurm", devices=4, gpu=True)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    assert (tmp_path / "log").read_text().splitlines() == ["draw a", "extract", "extract more", "fit"]
    draw, extract, fit = (tmp_path / "submitted").read_text().splitlines()
    assert "--array=0-0%4" in draw
    assert "dependency" not in draw
    assert "--array=0-1%4 --gres=gpu:1 --dependency=afterany:17" in extract
    assert "--dependency=afterany:17" in fit


def test_on_cpus_no_job_asks_for_a_gpu():
    assert "--gres" not in slurm_script(Plan(STEPS, [], 2), "probe plan --slurm", devices=4, gpu=False)


@pytest.mark.parametrize("name", ["h100", "H100", "RTX4090"])
def test_a_machine_is_found_however_it_is_written(name: str):
    assert find_machine(name) is MACHINES[name.lower()]
