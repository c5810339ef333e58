"""The training sets that rows name in the place of the recipe's own: how one that is not here is drawn.

draw_commands(["m4d-35k"], Path("recipes"), workspace)     # ["probe data curate recipes/curation/m4d-35k.yaml"]
"""

import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from probe.data.curation import read_curations
from probe.workspace import Workspace

FOLDER = "curation"  # beside the recipes


def draw_commands(names: Sequence[str], recipes: Path, workspace: Workspace) -> list[str]:
    """One for each curation recipe that has some of them: all of its training sets where all are asked for, each by its
    own command otherwise. None for a name that no curation recipe has. `recipes`: the folder of the recipes."""
    commands = []
    for file in sorted((recipes / FOLDER).glob("*.yaml")):
        drawn = _drawn_by(file, file.stat().st_mtime_ns)
        asked = [name for name in drawn if name in names]
        command = ["probe", "data", "curate", str(file)]
        options = workspace.options("data_root")
        if asked == drawn:
            commands.append(command + options)
        else:
            commands += [[*command, "--row", name, *options] for name in asked]
    return [shlex.join(command) for command in commands]


@cache
def _drawn_by(file: Path, changed: int) -> list[str]:
    """The training sets of a curation recipe, read once for all that ask while it is not `changed`."""
    return [curation.name for curation in read_curations(file)]
