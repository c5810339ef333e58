"""`make gpu` begins on a machine without a network and without most of what probe needs: that is rehearsed here."""

import os
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from benchmarks import rehearsal
from benchmarks.gpu.__main__ import marked
from benchmarks.wheels import MOST_BYTES, THERE, install, needed

ROOT = Path(__file__).resolve().parents[2]
IMPORT = (
    "from benchmarks.gpu import __main__, extraction, fit, search, streaming; import polars; print(polars.__file__)"
)


@pytest.mark.slow
@pytest.mark.skipif(not any(distributions(name="pip")), reason="pip is not installed")  # find_spec unsettles distutils
def test_what_the_machine_lacks_is_installed_without_a_network_and_then_everything_is_there(tmp_path: Path) -> None:
    python, wheels = rehearsal.environment(tmp_path / "environment"), rehearsal.pack(tmp_path / "wheels")
    target = tmp_path / "installed"

    def run(*words: str | Path, installed: bool) -> subprocess.CompletedProcess[str]:
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environ = plain | ({"PYTHONPATH": str(target)} if installed else {})
        return subprocess.run([python, *words], cwd=ROOT, env=environ, capture_output=True, text=True)

    assert "No module named" in run("-c", IMPORT, installed=False).stderr
    done = run("-m", "benchmarks.wheels", "install", wheels, target, installed=False)
    assert done.returncode == 0, done.stderr
    done = run("-c", IMPORT, installed=True)
    assert done.stdout.startswith(str(target)), done.stderr
    done = run("-m", "pytest", "-m", "cuda", "--collect-only", *marked(), installed=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_steps_do_not_wait_for_the_gpu[device]" in done.stdout


def test_what_is_there_is_not_carried_and_what_it_needs_neither() -> None:
    names = needed("3.12", THERE)
    assert {"polars", "polars-runtime-32", "pydantic-core", "open-clip-torch", "typer", "rich", "pytest"} <= names
    assert not names & {*THERE, "scipy", "sympy", "tokenizers", "nvidia-cublas"}
    assert "pytest" not in needed("3.12", THERE | {"pytest"})
    assert MOST_BYTES == 64 * 2**20


def test_an_empty_folder_of_wheels_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there are no wheels in .*; fill it where there is a network: make wheels"):
        install(tmp_path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_every_test_for_a_gpu_is_found_by_its_mark() -> None:
    """And those files alone are imported there: others need what that machine does not have."""
    given = "cuda: torch" + ".device"  # a test's own fixture
    using = {file for file in (ROOT / "tests").rglob("test_*.py") if given in file.read_text()}
    assert using <= set(marked())
    assert {file.parent.name for file in marked()} == {"extract", "fit", "heads", "losses", "search"}
