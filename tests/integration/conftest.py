"""Whole commands on real images: the fixtures are folders in which the README's own lines have been run."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from probe.data import sample
from tests.conftest import Shared
from tests.integration.commands import ROOT, Shell, readme_commands

EPOCHS = 10


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The quickstart has been run here, in small: with four images of each class, and a third of the epochs."""
    home = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(ROOT / "recipes", home / "recipes")
    recipe = home / "recipes" / "quickstart.yaml"
    text = recipe.read_text()
    assert "epochs: 30, batch: 128" in text
    recipe.write_text(text.replace("epochs: 30, batch: 128", f"epochs: {EPOCHS}, batch: 64"))
    classes = [replace(each, images=4) for each in sample.plan()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "plan", lambda: classes)
        sample.ensure_sample(home / "data")
    shell = Shell(home)
    shell("probe table recipes/quickstart.yaml")
    return shell


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> Shell:
    """The README's commands for your own folder have been run here, on the pocket set."""
    weights = shared("weights/mobilenetv1_100.tf_qat_in1k_nohead.safetensors")
    home = tmp_path_factory.mktemp("pocket")
    shell = Shell(home, {"FOLDER": str(shared("data/pocket").parent), "WEIGHTS": str(weights)})
    for line in readme_commands("Your own folder"):
        shell(line)
    return shell
