"""Whole commands on real images: the fixtures are folders in which the README's own lines have been run."""

from pathlib import Path

import pytest

from tests.conftest import Shared
from tests.integration.commands import Shell, readme_commands


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The quickstart has been run here."""
    shell = Shell(tmp_path_factory.mktemp("quickstart"))
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
