"""A loss and a head of the user's own, as their pages write them: nothing of `probe` is changed, the file is enough."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.integration.commands import Shell
from tests.own_parts import write_pages_parts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, extracted_sample: Path) -> Shell:
    """A folder with the files of both pages, and their rows in one recipe, which has been fitted in two processes."""
    home = tmp_path_factory.mktemp("own")
    shutil.copytree(extracted_sample, home, dirs_exist_ok=True, symlinks=True)
    shell = Shell(home)
    write_pages_parts(home)
    done = shell("probe fit my_table.yaml --jobs 2")
    assert "6 run(s) fitted" in done.stderr
    assert "Combined margin" in done.stdout
    assert "Two layers" in done.stdout
    return shell


pytestmark = pytest.mark.slow


def runs(world: Shell, pattern: str) -> list[Path]:
    return sorted((world.home / "out" / "runs").glob(pattern))


def test_its_runs_are_named_after_it_and_have_its_options(world: Shell):
    for pattern, section, own in (
        ("*CombinedMargin*", "loss", {"kind": "my_losses:CombinedMargin", "margin": 0.4, "shift": 0.2}),
        ("*TwoLayers*", "head", {"kind": "my_heads:TwoLayers", "hidden": 128, "dim": 64}),
    ):
        found = runs(world, pattern)
        assert len(found) == 2
        config = yaml.safe_load((found[0] / "config.yaml").read_text())["config"][section]
        assert config.items() >= own.items()


def test_in_one_process_the_bits_are_the_same_and_what_is_done_stays_done(world: Shell, tmp_path: Path):
    world(f"probe fit my_table.yaml --seeds 0 --out {tmp_path}")
    for path in (tmp_path / "runs").glob("*_seed0_*"):
        first = world.home / "out" / "runs" / path.name
        assert (path / "metrics.json").read_bytes() == (first / "metrics.json").read_bytes()
    assert "6 already done" in world("probe fit my_table.yaml").stderr


def test_an_option_that_only_it_has_is_set_on_the_command_line(world: Shell, tmp_path: Path):
    world(f"probe fit my_table.yaml --row 'Combined margin' --seeds 0 --set loss.shift=0.3 --out {tmp_path}")
    [run] = (tmp_path / "runs").glob("*CombinedMargin*")
    loss = yaml.safe_load((run / "config.yaml").read_text())["config"]["loss"]
    assert (loss["margin"], loss["shift"]) == (0.4, 0.3)


def test_a_mistake_is_one_sentence(world: Shell):
    said = world("probe fit my_table.yaml --set loss.shfit=0.4", 2).stderr
    assert "there is no 'loss.shfit'; did you mean 'loss.shift'?" in " ".join(said.split())
    assert "Traceback" not in said


def test_finished_heads_are_loaded_and_combined(world: Shell):
    losses, heads = runs(world, "*CombinedMargin*"), runs(world, "*TwoLayers*")
    for combine, members in (("soup", heads), ("ensemble", [losses[0], *heads])):
        names = " ".join(map(str, members))
        assert "Mean" in world(f"probe evaluate {names} --data sample --combine {combine}").stdout
