"""Whole commands on real images: the fixtures are folders in which the README's own lines have been run."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Common, Shared
from tests.integration.commands import ROOT, Shell, readme_commands

EPOCHS = 10


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def extracted_sample(common: Common, small_sample: Path) -> Path:
    """A folder with `data`, the sample in small, and `features`, the descriptor's."""

    def extract(home: Path) -> None:
        shutil.copytree(small_sample, home / "data")
        Shell(home)("probe extract sample --backbone descriptor")

    return common("extracted_sample", extract)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory, extracted_sample: Path) -> Shell:
    """The quickstart has been run here, in small: on the small sample, a third of the epochs, one discriminant, and
    three seeds of ArcFace alone."""
    home = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(extracted_sample, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("recipes"))
    shutil.copytree(ROOT / "recipes", home / "recipes")
    recipe = home / "recipes" / "quickstart.yaml"
    text = recipe.read_text()
    assert "epochs: 30, batch: 128" in text
    text = text.replace("epochs: 30, batch: 128", f"epochs: {EPOCHS}, batch: 64")
    text = re.sub('.*name: (Auto|"Discriminant, ).*\n', "", text)
    for kind in ("{kind: random-projection}", "{kind: sub-center-arcface, sub_centers: 3}"):
        assert f"{kind}}}" in text
        text = text.replace(f"{kind}}}", f"{kind}, seeds: [0]}}")
    recipe.write_text(text)
    shell = Shell(home)
    shell("probe table recipes/quickstart.yaml")
    return shell


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> Shell:
    """The README's commands for your own folder have been run here, on the pocket set, with one seed."""
    weights = shared("weights/mobilenetv1_100.tf_qat_in1k_nohead.safetensors")
    home = tmp_path_factory.mktemp("pocket")
    shell = Shell(home, {"FOLDER": str(shared("data/pocket").parent), "WEIGHTS": str(weights)})
    for line in readme_commands("Your own folder"):
        shell(line.replace("probe fit", "probe fit --seeds 0"))
    return shell
