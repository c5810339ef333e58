"""What a machine without a network lacks, as wheels: of probe, and of the tests and benchmarks of `make gpu`.

Versions are those of constraints.txt. The machine has PyTorch and the like (THERE); what of the rest it has too stays
as it is.

python -m benchmarks.wheels fill .wheels --python 3.12 --there pytest rich      # here: `make wheels`
python -m benchmarks.wheels install .wheels .gpu            # there, by a Python that has PyTorch; then PYTHONPATH=.gpu
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THERE = {
    *("h5py", "huggingface-hub", "numpy", "pillow", "pyyaml", "safetensors", "scikit-image", "scikit-learn"),
    *("timm", "torch", "torchvision", "transformers"),
}
"""These, and what they need; `--there` adds to them."""
TOOLS = ("filelock", "hypothesis", "pytest", "pytorch-metric-learning")
MOST_BYTES = 64 << 20
PLATFORMS = ["manylinux2014_x86_64", *(f"manylinux_2_{number}_x86_64" for number in range(5, 29))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    filling = steps.add_parser("fill", help="from the registry that pip knows")
    filling.add_argument("folder", type=Path)
    filling.add_argument("--python", default="3.12", help="version of that machine's Python")
    filling.add_argument("--there", nargs="*", default=[], help="what it is known to have besides")
    installing = steps.add_parser("install", help="what this Python lacks, without a network")
    installing.add_argument("folder", type=Path)
    installing.add_argument("target", type=Path, help="made anew")
    options = parser.parse_args()
    try:
        if options.step == "fill":
            print(fill(options.folder, options.python, options.there))
        else:
            print(install(options.folder, options.target))
    except subprocess.CalledProcessError:
        sys.exit("error: pip failed, as it says above.")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


# ---- with a network ----


def fill(folder: Path, python: str, there: Iterable[str] = ()) -> str:
    """Brings the folder to exactly these wheels; what it did. Raises ValueError for more than MOST_BYTES."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = sorted(f"{name}=={pins[name]}" for name in needed(python, THERE.union(there)))
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    words = [sys.executable, "-m", "pip", "download", *options, *platforms, f"--dest={folder}", *wanted]
    subprocess.run(words, check=True)
    for wheel in folder.glob("*.whl"):
        if "==".join(name_and_version(wheel)) not in wanted:
            wheel.unlink()
    sizes = {wheel.name: wheel.stat().st_size for wheel in folder.glob("*.whl")}
    total = f"{sum(sizes.values()) / 2**20:.1f} MiB"
    if sum(sizes.values()) > MOST_BYTES:
        raise ValueError(f"{folder} has {total}, more than 64 MiB; the largest is {max(sizes, key=sizes.__getitem__)}.")
    return f"{len(sizes)} wheels in {folder}, {total}"


def needed(python: str, there: Collection[str]) -> set[str]:
    """Names of what probe and TOOLS need on that version of Python, without those and what only these need."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    todo = [*(canonicalize_name(Requirement(line).name) for line in _dependencies()), *TOOLS]
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in there or name in found:
            continue
        found.add(name)
        for of_it in map(Requirement, requires(name) or []):
            if of_it.marker is None or of_it.marker.evaluate({"extra": "", "python_version": python}):
                todo.append(canonicalize_name(of_it.name))
    return found


# ---- without ----


def install(folder: Path, target: Path) -> str:
    """Installs into `target` what this Python lacks of the folder's wheels; what it did.

    Raises ValueError where something is then still missing, or is here in a version that is too old.
    """
    wheels = dict(map(name_and_version, folder.glob("*.whl")))
    if not wheels:
        raise ValueError(f"there are no wheels in {folder}; fill it where there is a network: make wheels.")
    missing = sorted(f"{name}=={of_wheel}" for name, of_wheel in wheels.items() if not _is_here(name))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if missing:
        options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check"]
        words = [sys.executable, "-m", "pip", "install", *options, f"--find-links={folder}", f"--target={target}"]
        subprocess.run([*words, *missing], check=True)
    sys.path.insert(0, str(target))
    _require([*_dependencies(), *TOOLS])
    return f"{len(missing)} of {len(wheels)} wheels installed into {target}, the others are here already"


def _require(lines: Iterable[str]) -> None:
    from packaging.requirements import Requirement

    wrong = []
    for line in map(Requirement, lines):
        if not _is_here(line.name):
            wrong.append(f"{line.name} is missing")
        elif not line.specifier.contains(version(line.name), prereleases=True):
            wrong.append(f"{line.name} is {version(line.name)}, and {line} is needed")
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}: take it out of THERE in benchmarks/wheels.py, and fill the folder anew.")


def _is_here(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _dependencies() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def name_and_version(wheel: Path) -> tuple[str, str]:
    name, of_wheel, *_ = wheel.name.split("-")
    return re.sub(r"[-_.]+", "-", name).lower(), of_wheel


if __name__ == "__main__":
    main()
