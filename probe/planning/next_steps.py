"""What to extract of training sets that were drawn: what the tables that train on them read.

next_steps(["m4d-35k"], Path("recipes"), workspace)
# {"probe extract m4d-35k --backbone siglip-so400m-14-384@train": ["unifex_table4", "unifex_table5", ...], ...}
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from probe.errors import UsageError
from probe.planning.extraction import extractions
from probe.recipes import Recipe, read_recipe
from probe.workspace import Workspace


def next_steps(drawn: Collection[str], recipes: Path, workspace: Workspace) -> dict[str, list[str]]:
    """By command, the names of the recipes in the folder `recipes` that it serves; those that serve most come first."""
    serving: dict[str, list[str]] = {}
    for recipe in _readable(recipes):
        for backbone in recipe.backbones:
            for extraction in extractions(recipe, backbone, {}, workspace.datasets):
                of_drawn = replace(extraction, data=tuple(name for name in extraction.data if name in drawn))
                if of_drawn.data:
                    serving.setdefault(of_drawn.command(workspace), []).append(recipe.name)
    return dict(sorted(serving.items(), key=lambda step: -len(step[1])))


def _readable(folder: Path) -> list[Recipe]:
    """A file that is no recipe, or a faulty one, needs nothing of what was drawn."""
    found = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            found.append(read_recipe(file))
        except UsageError:
            continue
    return found
