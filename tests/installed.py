"""A process that has only what a list of requirements brings, of all that is installed, as package metadata have it.

process = [sys.executable, *ISOLATED, code]
subprocess.run(process, env=os.environ | only(["timm", "safetensors"], tmp_path / "packages"))
"""

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ISOLATED = ("-S", "-c")
"""Options of Python, before the code: without the packages of its own environment."""


def only(requirements: Iterable[str], folder: Path, *more: Path) -> dict[str, str]:
    """Fills the folder with links to what these need, themselves included; the variables of a process that has nothing
    else, but what lies in the folders `more`."""
    folder.mkdir()
    for found in _required(requirements):
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = folder / name
            if not link.is_symlink():
                link.symlink_to(str(found.locate_file(name)))
    return {"PYTHONPATH": ":".join(map(str, (folder, *more)))}


def _required(requirements: Iterable[str]) -> list[Distribution]:
    """All distributions that are needed and here."""
    todo, seen = [Requirement(each) for each in requirements], dict[tuple[str, str], Distribution]()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = requirement.name.lower().replace("_", "-"), extra
            if key in seen:
                continue
            try:
                seen[key] = distribution(requirement.name)
            except PackageNotFoundError:  # for another system or version of Python
                continue
            needs = map(Requirement, seen[key].requires or ())
            todo += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]
    return list(seen.values())
