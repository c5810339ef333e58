"""Training sets which are not on this machine, drawn by the curation recipes beside the recipes: the commands, and what
they cannot be drawn without.

    curation_commands(["m4d-35k"], Path("recipes"), workspace)     # ["probe data curate recipes/curation/m4d-35k.yaml"]
    undrawable(["m4d-35k"], Path("recipes"), workspace)            # ["m4d-35k is drawn from data that is not, ..."]
"""

import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from probe.data import Curation, lacking_data, read_curations
from probe.workspace import Workspace, as_named

FOLDER = "curation"  # beside the recipes


def curation_commands(names: Sequence[str], recipes: Path, workspace: Workspace) -> list[str]:
    """One command for each curation recipe of which all training sets are asked for, else one for each training set;
    none for a name that no curation recipe has. `recipes`: the folder of the recipes."""
    commands = []
    for file, curations in _curations(recipes):
        drawn = [curation.name for curation in curations]
        asked = [name for name in drawn if name in names]
        command = ["probe", "data", "curate", str(as_named(file))]
        options = workspace.options("data_root")
        if asked == drawn:
            commands.append(command + options)
        else:
            commands += [[*command, "--row", name, *options] for name in asked]
    return [shlex.join(command) for command in commands]


def undrawable(names: Sequence[str], recipes: Path, workspace: Workspace) -> list[str]:
    """For each curation recipe a sentence on the data that is missing for its training sets among `names`."""
    found = []
    for _, curations in _curations(recipes):
        asked = [curation for curation in curations if curation.name in names]
        drawn = [each for each in asked if not each.is_published(workspace.data_root, workspace.datasets)]
        if lacking := lacking_data(drawn, workspace.data_root, workspace.datasets):
            found.append(f"{', '.join(curation.name for curation in drawn)}: drawn from {lacking}")
    return found


def folder_of_tables(curation: Path) -> Path:
    """Where the recipes lie whose rows train on what a curation recipe draws."""
    folder = curation.resolve().parent
    return folder.parent if folder.name == FOLDER else folder


def _curations(recipes: Path) -> list[tuple[Path, list[Curation]]]:
    files = sorted((recipes / FOLDER).glob("*.yaml"))
    return [(file, _read(file, file.stat().st_mtime_ns)) for file in files]


@cache
def _read(file: Path, modified: int) -> list[Curation]:
    """Once while the file's modification time is `modified`."""
    return read_curations(file)
