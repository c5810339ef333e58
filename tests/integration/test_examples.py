"""The scripts of examples/ do what they say, on the small sample."""

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.commands import ROOT, Shell

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, extracted_sample: Path) -> Shell:
    """Data and features lie where they do by default."""
    home = tmp_path_factory.mktemp("examples")
    shutil.copytree(extracted_sample, home / "probe", symlinks=True)
    return Shell(home, {"XDG_DATA_HOME": str(home), "COLUMNS": "160"})


def run(shell: Shell, name: str) -> str:
    """What it prints, started as `python examples/NAME`."""
    return shell.python(
        f"import runpy, sys\nsys.path.insert(0, {str(EXAMPLES)!r})\n"
        f"runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"
    )


def test_a_loss_of_ones_own_stands_beside_arcface(shell: Shell):
    assert re.search(r"ArcFace .*\n.*Smoothed softmax +│ +64 │ +1 │ +\d\d\.\d / \d\d\.\d", run(shell, "own_loss.py"))
    assert len(list((shell.home / "out" / "runs").glob("descriptor_linear_*SmoothedSoftmax_*"))) == 1


def test_ones_own_embeddings_are_scored_by_domain(shell: Shell):
    said = run(shell, "score_my_embeddings.py")
    shares = {name: float(share) for name, share in re.findall(r"^(\w+) +mMP@5 +([\d.]+)%", said, flags=re.MULTILINE)}
    mean = shares.pop("Mean")
    assert len(shares) == 7
    assert mean == pytest.approx(sum(shares.values()) / 7, abs=0.1)
