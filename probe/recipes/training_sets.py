"""The commands that draw training sets which are not on this machine, from the curation recipes beside the recipes.

curation_commands(["m4d-35k"], Path("recipes"), workspace)     # ["probe data curate recipes/curation/m4d-35k.yaml"]
"""

import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from probe.data import read_curations
from probe.workspace import Workspace

FOLDER = "curation"  # beside the recipes


def curation_commands(names: Sequence[str], recipes: Path, workspace: Workspace) -> list[str]:
    """One command for each curation recipe of which all training sets are asked for, else one for each training set;
    none for a name that no curation recipe has. `recipes`: the folder of the recipes."""
    commands = []
    for file in sorted((recipes / FOLDER).glob("*.yaml")):
        drawn = _training_sets(file, file.stat().st_mtime_ns)
        asked = [name for name in drawn if name in names]
        command = ["probe", "data", "curate", str(file)]
        options = workspace.options("data_root")
        if asked == drawn:
            commands.append(command + options)
        else:
            commands += [[*command, "--row", name, *options] for name in asked]
    return [shlex.join(command) for command in commands]


def folder_of_tables(curation: Path) -> Path:
    """Where the recipes lie whose rows train on what a curation recipe draws."""
    folder = curation.resolve().parent
    return folder.parent if folder.name == FOLDER else folder


@cache
def _training_sets(file: Path, modified: int) -> list[str]:
    """The names in a curation recipe, read once while its modification time is `modified`."""
    return [curation.name for curation in read_curations(file)]
