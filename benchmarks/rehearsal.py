"""`make gpu` without a GPU: in an environment that lacks what the machine with one lacks, at sizes that take seconds.

The environment is a virtual one, which has by links what this one has, but for that. Its wheels are made of what is
installed here, so that neither a network nor `make wheels` is needed; with `--wheels` they are those of `make wheels`,
filled for this version of Python.

make gpu-rehearsal
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution, distributions
from pathlib import Path

from benchmarks.wheels import ROOT, THERE, needed

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="those of `make wheels`")
    parser.add_argument("--json", type=Path, default=Path("out/gpu-rehearsal.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = environment(folder / "environment")
        wheels = options.wheels or pack(folder / "wheels")
        check = ["-m", "benchmarks.gpu", "--device=cpu", "--small", "--rounds=1", f"--json={options.json}"]
        words = [python, "-m", "benchmarks.wheels", "install", wheels, folder / "installed"]
        if failed := subprocess.run(words).returncode:
            sys.exit(failed)
        environ = os.environ | {"PYTHONPATH": str(folder / "installed"), "OMP_NUM_THREADS": "1"}
        sys.exit(subprocess.run([python, *check], env=environ).returncode)


def lacking() -> set[str]:
    """Names of what there is no wheel to be found of before the installation."""
    return needed(VERSION, THERE)


def environment(folder: Path) -> Path:
    """Its interpreter. What is installed here as a link to a clone, such as probe, is not there."""
    base = Path(sys.base_prefix) / "bin" / f"python{VERSION}"
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    links = folder / "links"
    links.mkdir()
    left_out = lacking()
    for each in distributions():
        if each.metadata["Name"].lower().replace("_", "-") not in left_out:
            for entry in top_level(each):
                if not (links / entry.name).is_symlink():
                    (links / entry.name).symlink_to(entry)
    (folder / "lib" / f"python{VERSION}" / "site-packages" / "links.pth").write_text(f"{links}\n")
    return folder / "bin" / "python"


def top_level(of: Distribution) -> Iterable[Path]:
    """Its entries in the folder of installed packages."""
    names = {file.parts[0] for file in of.files or () if file.parts[0] not in ("..", "__pycache__")}
    return [Path(str(of.locate_file(name))).absolute() for name in sorted(names)]


def pack(folder: Path) -> Path:
    """Wheels of what is lacking, not compressed, made of what is installed here; their folder."""
    folder.mkdir()
    for name in sorted(lacking()):
        found = distribution(name)
        assert isinstance(found, PathDistribution), name
        lines = str(found.read_text("WHEEL")).splitlines()
        tags = zip(*(line[5:].split("-") for line in lines if line.startswith("Tag: ")), strict=True)
        tag = "-".join(".".join(dict.fromkeys(part)) for part in tags)
        stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}"
        files = [file for file in found.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
        information = next(file.parts[0] for file in files if file.name == "WHEEL")
        with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as wheel:
            for file in files:
                if file.name != "RECORD":
                    wheel.write(str(file.locate()), str(file))
            wheel.writestr(f"{information}/RECORD", "".join(f"{file},,\n" for file in files))
    return folder


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
