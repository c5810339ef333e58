"""A loss and a head of the user's own, as their pages write them: nothing of `probe` is changed, the file is enough."""

import re
from pathlib import Path

import pytest
import yaml

from tests.integration.commands import ROOT, Shell, blocks


def page(name: str) -> str:
    """The section about one's own."""
    [section] = re.findall(
        r"^## Your own .*?(?=^## )", (ROOT / "docs" / name).read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return section


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with the files of both pages, and their rows in one recipe, which has been fitted in two processes."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    for name in ("losses", "heads"):
        [code] = blocks(page(f"{name}.md"), "python")
        (shell.home / f"my_{name}.py").write_text(code)
    recipe, head = (yaml.safe_load(blocks(page(name), "yaml")[0]) for name in ("losses.md", "heads.md"))
    (shell.home / "my_table.yaml").write_text(yaml.safe_dump(recipe | {"rows": recipe["rows"] + head["rows"]}))
    shell("probe extract sample --backbone descriptor")
    done = shell("probe fit my_table.yaml --jobs 2")
    assert "6 run(s) fitted" in done.stderr
    return shell


def runs(world: Shell, pattern: str) -> list[Path]:
    return sorted((world.home / "out" / "runs").glob(pattern))


def test_the_loss_is_written_in_about_fifteen_lines():
    [code] = blocks(page("losses.md"), "python")
    body = code[code.index("class ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


def test_its_runs_are_named_after_it_and_tell_its_options(world: Shell):
    for pattern, section, own in (
        ("*_arcface_seed?_*", "loss", {"kind": "arcface"}),
        ("*CombinedMargin*", "loss", {"kind": "my_losses:CombinedMargin", "shift": 0.1, "margin": 0.3}),
        ("*TwoLayers*", "head", {"kind": "my_heads:TwoLayers", "hidden": 128, "dim": 64}),
    ):
        found = runs(world, pattern)
        assert found
        config = yaml.safe_load((found[0] / "config.yaml").read_text())["config"][section]
        assert config.items() >= own.items()


def test_asked_again_nothing_is_fitted(world: Shell):
    assert "6 already done" in world("probe fit my_table.yaml").stderr


def test_in_one_process_the_bits_are_the_same(world: Shell, tmp_path: Path):
    world(f"probe fit my_table.yaml --seeds 0 --out {tmp_path}")
    for path in (tmp_path / "runs").glob("*_seed0_*"):
        assert (path / "metrics.json").read_bytes() == (
            world.home / "out/runs" / path.name / "metrics.json"
        ).read_bytes()


def test_an_option_is_set_on_the_command_line(world: Shell, tmp_path: Path):
    world(f"probe fit my_table.yaml --row 'Combined margin' --seeds 0 --set loss.scale=20 --out {tmp_path}")
    [run] = (tmp_path / "runs").glob("*CombinedMargin*")
    assert yaml.safe_load((run / "config.yaml").read_text())["config"]["loss"]["scale"] == 20


def test_an_option_that_only_it_has_is_set_too(world: Shell, tmp_path: Path):
    text = (world.home / "my_table.yaml").read_text()
    (world.home / "own_default.yaml").write_text(text.replace("shift: 0.1", "margin: 0.2"))
    world(f"probe fit own_default.yaml --row 'Combined margin' --seeds 0 --set loss.shift=0.4 --out {tmp_path}")
    [run] = (tmp_path / "runs").glob("*CombinedMargin*")
    assert yaml.safe_load((run / "config.yaml").read_text())["config"]["loss"]["shift"] == 0.4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--set loss.shfit=0.4", "there is no 'loss.shfit'"),
        ("--set loss.scale=-3", "row 'Combined margin': loss: scale: Input should be greater than 0 (got -3)."),
    ],
)
def test_a_wrong_setting_is_one_sentence(world: Shell, options: str, says: str):
    said = world(f"probe fit my_table.yaml --row 'Combined margin' {options}", 2).stderr
    assert says in " ".join(said.split())
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"kind": "my_losses:CombinedMargin", "shfit": 0.1}, "loss: unknown key 'shfit'; did you mean 'shift'?"),
        ({"kind": "my_losses:CombinedMargin", "shift": "wide"}, "loss: shift: Input should be a valid number"),
        ({"kind": "my_losses:Combined"}, "loss 'my_losses:Combined' cannot be loaded (module 'my_losses' has no"),
        (
            {"kind": "my_loss:CombinedMargin"},
            "loss 'my_loss:CombinedMargin' cannot be loaded (No module named 'my_loss')",
        ),
        ({"kind": "my_heads:TwoLayers"}, "loss 'my_heads:TwoLayers' is no Loss; derive it from probe.losses.Loss."),
        ({"kind": "broken:Loss"}, "loss 'broken:Loss' cannot be loaded (invalid syntax"),
        ({"kind": "arcfce"}, "there is no loss 'arcfce'; did you mean 'arcface'?"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_sentence(world: Shell, written: dict, says: str):
    (world.home / "broken.py").write_text("class Loss(\n    pass )\n")
    recipe = yaml.safe_load((world.home / "my_table.yaml").read_text())
    (world.home / "wrong.yaml").write_text(yaml.safe_dump(recipe | {"rows": [{"name": "A row", "loss": written}]}))
    said = world("probe fit wrong.yaml", 2).stderr
    assert says in " ".join(said.split())
    assert "Traceback" not in said


def test_finished_heads_are_loaded_and_combined(world: Shell):
    losses, heads = runs(world, "*CombinedMargin*"), runs(world, "*TwoLayers*")
    assert "Mean" in world(f"probe evaluate {heads[0]} --data sample").stdout
    for combine, members in (("soup", heads), ("ensemble", [losses[0], *heads])):
        names = " ".join(map(str, members))
        assert "Mean" in world(f"probe evaluate {names} --data sample --combine {combine}").stdout


def test_the_table_has_their_rows(world: Shell):
    text = world("probe table my_table.yaml").stdout
    assert "Combined margin" in text
    assert "Two layers" in text
