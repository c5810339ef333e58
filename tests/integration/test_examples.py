"""The scripts of examples/ do what they say, on the small sample."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands import ROOT, Shell, photos

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, extracted_sample: Path) -> Shell:
    """Data and features lie where they do by default."""
    home = tmp_path_factory.mktemp("examples")
    shutil.copytree(extracted_sample, home / "probe", symlinks=True)
    return Shell(home, {"XDG_DATA_HOME": str(home), "COLUMNS": "160"})


def run(shell: Shell, name: str, *words: str) -> str:
    """What it prints, started as `python examples/NAME WORDS`."""
    return shell.python(
        f"import runpy, sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nsys.argv[1:] = {words}\n"
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


def test_photographs_of_ones_own_find_each_other(shell: Shell):
    folder = photos(shell.home / "photos", classes=12, each=3)
    said = run(shell, "own_folder.py", str(folder))
    assert re.search(r"R@1 on classes that were not fitted: \d+\.\d%", said)
    found = re.findall(r"^(class\S+png) is most like (class\S+png)$", said, flags=re.MULTILINE)
    assert [image for image, _ in found] == [
        "class0/0.png",
        "class0/1.png",
        "class0/2.png",
        "class1/0.png",
        "class1/1.png",
    ]
    assert all(image != other and (folder / other).is_file() for image, other in found)


def test_no_type_in_a_script_that_uses_the_api_is_unknown():
    scripts = [*EXAMPLES.glob("*.py"), ROOT / "tests" / "api" / "example.py"]
    assert all(script.read_text().startswith("# pyright: strict\n") for script in scripts)
    done = subprocess.run([sys.executable, "-m", "pyright", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
