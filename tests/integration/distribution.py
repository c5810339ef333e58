"""What `make dist` built in dist/: what the wheel and the sdist hold, and that the wheel works outside the clone.

make dist
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.integration.commands import ROOT, Shell

[WHEEL] = (ROOT / "dist").glob("*.whl")
[SDIST] = (ROOT / "dist").glob("*.tar.gz")
BUNDLED = "probe/recipes/bundled"


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """All files of the project, links followed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {name for name in listed.stdout.split("\0") if name} - {BUNDLED}
    return files | {f"{BUNDLED}/{name.removeprefix('recipes/')}" for name in files if name.startswith("recipes/")}


def test_the_wheel_has_both_packages_whole_with_the_recipes_and_nothing_else(tracked: set[str]):
    with zipfile.ZipFile(WHEEL) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        described = {PurePosixPath(name).name for name in wheel.namelist() if ".dist-info/" in name}
    assert held == {name for name in tracked if name.startswith(("probe/", "feature_cache/"))}
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= described


def test_the_sdist_has_all_that_is_tracked(tracked: set[str]):
    with tarfile.open(SDIST) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames() if not name.endswith("/")}
    assert tracked - held <= {".gitignore"}
    assert not {name for name in held if name.startswith((".venv", "out/", "site/", "dist/"))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, extracted_sample: Path) -> Shell:
    """An empty folder, in which `probe` is the wheel, with the features of the small sample."""
    base = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(base / "packages")
    places = {"PROBE_DATA_ROOT": "data", "PROBE_CACHE": "features"}
    variables = {name: str(extracted_sample / folder) for name, folder in places.items()}
    (base / "empty").mkdir()
    shell = Shell(base / "empty", variables | {"PYTHONPATH": str(base / "packages")})
    (shell.home / "recipes").unlink()
    return shell


def started(shell: Shell, words: str) -> str:
    """What `probe` prints, in a process of its own."""
    process = shell.start(f"{sys.executable} -m probe {words}")
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def test_outside_the_clone_the_recipes_that_come_with_it_are_found_by_name_and_by_path(installed: Shell):
    where = "import probe.workspace as at; print(at.__file__)"
    process = installed.start(f'{sys.executable} -c "{where}"')
    assert Path(process.communicate()[0].strip()).is_relative_to(installed.home.parent / "packages")
    fitted = started(installed, "fit quickstart --row PCA-whitening")
    assert "PCA-whitening" in fitted
    assert "probe fit recipes/unifex_table5.yaml" in started(installed, "table unifex_table5")
    assert started(installed, "fit recipes/quickstart.yaml --row PCA-whitening") == fitted
