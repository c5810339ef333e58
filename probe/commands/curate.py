"""`probe data curate`: training sets drawn by a recipe from the data sets that are here.

probe data curate recipes/curation/appendix-a1.yaml --row a1-max10-10k
"""

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Device
from probe.device import DeviceChoice
from probe.errors import UsageError
from probe.workspace import Workspace, or_bundled

if TYPE_CHECKING:
    from probe.data import Curation, Manifest


def curate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, such as those in recipes/curation.")],
    row: Annotated[
        str | None, typer.Option(help="Only the training set of this name.", show_default="all of the recipe")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="the training set's, in --data-root")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier draw.")] = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
) -> None:
    """Draw a recipe's training sets from the data sets that are here, and write them as manifests.

    Where the published list of one is here, it is written, and what would be drawn is compared with it. What lies there
    already, drawn in the same way, stays. A recipe that leaves near-duplicates out needs features of its sources (probe
    extract).
    """
    from probe.data import (
        MissingDataError,
        find_curation,
        is_drawn,
        lacking_data,
        print_curated,
        read_curations,
        write_curated,
    )
    from probe.data import curate as curate_one
    from probe.planning import NearDuplicateFinder
    from probe.progress import say
    from probe.terminal import printer

    recipe = or_bundled(recipe)
    curations = read_curations(recipe)
    workspace = Workspace(data_root, cache, DEFAULT.out, datasets)
    if row is not None:
        curations = [find_curation(row, curations)]
    if output is not None and len(curations) > 1:
        raise UsageError(f"{recipe} has {len(curations)} training sets; name one with --row, or leave out --output.")
    folders = [output or data_root / curation.name for curation in curations]
    for curation, folder in zip(curations, folders, strict=True):
        _require_free(folder, curation, workspace)
    drawn = [curation for curation in curations if not curation.is_published(data_root, datasets)]
    if lacking := lacking_data(drawn, data_root, datasets):
        raise MissingDataError(f"the recipe draws from {lacking}")
    read = functools.cache(lambda name: _read(name, workspace))
    finder = NearDuplicateFinder(read, workspace, device)
    finder.require_features([source for curation in drawn for source in curation.sources])
    for curation, folder in zip(curations, folders, strict=True):
        curated = curate_one(curation, read, finder)
        print_curated(curated.report, printer())
        if is_drawn(curated, folder, data_root) and not overwrite:
            say(f"{curation.name} lies in {folder} already, drawn in the same way\n")
        else:
            say(f"written to {write_curated(curated, folder, data_root, overwrite)}\n")
    _say_next([str(output)] if output else [curation.name for curation in curations], recipe, workspace)


def _say_next(drawn: list[str], recipe: Path, workspace: Workspace) -> None:
    """What to extract of the training sets, and for which tables; `recipe`: the one that drew them."""
    from probe.planning import next_steps
    from probe.progress import say
    from probe.recipes import folder_of_tables

    steps = next_steps(drawn, folder_of_tables(recipe), workspace)
    for command, tables in steps.items():
        say(f"next: {command}      # for {', '.join(tables)}")
    if not steps:
        words = ["probe", "extract", *drawn, "--backbone", "NAME", *workspace.options("data_root", "cache")]
        say(f"next: {shlex.join(words)}      # no table trains on it; `probe backbones` has the names")


def _require_free(folder: Path, curation: "Curation", workspace: Workspace) -> None:
    """Nothing but an earlier draw is replaced: neither the user's own data nor what a known name means."""
    from probe.data import MANIFESTS, ORIGIN, all_datasets
    from probe.data import SAMPLE as BUNDLED

    file = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    if file:
        raise UsageError(f"{file} is a file, and the training set '{curation.name}' needs a folder; name another one.")
    data_root = workspace.data_root
    known = {BUNDLED, *(dataset.name for dataset in all_datasets(workspace.datasets))}
    taken = {(data_root / name).resolve(): name for name in known}.get(folder.resolve())
    if taken and taken != curation.released:
        raise UsageError(f"{folder} is where the data set '{taken}' is looked for; write elsewhere, with --output.")
    held = {entry.name for entry in folder.iterdir() if entry.name[0] != "."} if folder.exists() else set()
    own = held & set(MANIFESTS) if taken else held  # the published list may lie in the folder of its name
    if own and (ORIGIN not in held or "manifest.csv" in held):
        raise UsageError(f"{folder} holds '{min(own)}', which no recipe drew; write elsewhere, with --output.")
    for source in curation.sources:
        if held and folder.resolve() in _places(source.data, data_root):
            raise UsageError(
                f"the training set '{curation.name}' would draw from what it replaces, {folder}; "
                "write elsewhere, with --output."
            )


def _places(data: str, data_root: Path) -> list[Path]:
    """The folders in which `data` may lie."""
    named = [Path(data).expanduser().resolve(), (data_root / data).resolve()]
    return [place.parent if place.is_file() else place for place in named]


def _read(name: str, workspace: Workspace) -> "Manifest":
    from probe.data import is_known, known_data, resolve_data

    if is_known(name, workspace.datasets):
        return known_data(name, workspace.data_root, workspace.datasets)
    return resolve_data(name, workspace.data_root, datasets=workspace.datasets)
