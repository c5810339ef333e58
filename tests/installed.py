"""Which of the installed modules a list of requirements brings, as package metadata have it; all others can be blocked.

blocked = BLOCK.format(modules=other_modules(["torch", "timm", "safetensors"]))      # code, to come first in a process
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions

from packaging.requirements import Requirement

BLOCK = "import sys\nsys.modules.update(dict.fromkeys({modules}))\n"
"""An import of any of `modules` fails after it, and they seem not to be installed."""


def required(requirements: Iterable[str]) -> set[str]:
    """The normalised names of all distributions that these need, themselves included."""
    todo, seen = [Requirement(each) for each in requirements], set[tuple[str, str]]()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = _normalised(requirement.name), extra
            if key in seen:
                continue
            seen.add(key)
            try:
                needs = map(Requirement, distribution(requirement.name).requires or ())
            except PackageNotFoundError:  # for another system or version of Python
                continue
            todo += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def other_modules(requirements: Iterable[str]) -> list[str]:
    """The top-level modules of all other distributions that are installed, probe's own among them."""
    needed = required(requirements)
    found = packages_distributions().items()
    return sorted(module for module, of in found if not {_normalised(each) for each in of} & needed)


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
