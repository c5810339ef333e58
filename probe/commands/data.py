"""`probe data`: which data sets are known and are here, whether they are sound, and training sets drawn from them.

probe data list [NAME] · check DATA... · stats [DATA]... · curate RECIPE
"""

import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import DEFAULT, DataRoot, Datasets, Out
from probe.errors import UsageError
from probe.workspace import Workspace, file_name

if TYPE_CHECKING:
    from probe.data import Curation, Manifest

SAMPLE = 300

app = typer.Typer(no_args_is_help=True, help="Look at data sets, check them, count them, and draw training sets.")


@app.command("list", epilog="Example: probe data list sop")
def list_datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A data set, to be told everything of it.")
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
) -> None:
    """List the data sets that are known: where to get them, what is published of them, and whether they are here."""
    from probe.data import all_datasets, find_dataset, print_dataset, print_datasets
    from probe.terminal import printer

    if name is None:
        print_datasets(all_datasets(datasets), data_root, printer())
    else:
        print_dataset(find_dataset(name, datasets), data_root, printer())


@app.command(epilog="Example: probe data stats sample")
def stats(
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA]...", help="Data to count.", show_default="the tables of UnED and UniFEx"),
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
) -> None:
    """Count images and classes: of the data named, or the papers' tables beside what is here of them."""
    from probe.data import class_sizes, known_data, measured_tables, print_sizes, print_tables, resolve_data
    from probe.terminal import printer

    for name in data or []:
        manifest = resolve_data(name, data_root, datasets=datasets)
        print_sizes(manifest.where, class_sizes(manifest), printer())
    if not data:
        print_tables(measured_tables(lambda name: known_data(name, data_root, datasets)), printer())


@app.command(epilog="Example: probe data check sample")
def check(
    data: Annotated[
        list[str], typer.Argument(metavar="DATA", help="Known data sets, and whatever `probe extract` takes.")
    ],
    sample: Annotated[
        int | None, typer.Option(min=0, help="How many random images to decode.", show_default=str(SAMPLE))
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Decode every image.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decoding processes; 0 decodes in the main one.", show_default="by CPUs")
    ] = None,
    source_root: Annotated[
        list[str] | None, typer.Option(help="SOURCE=FOLDER: where a source's images lie; repeatable.")
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    out: Out = DEFAULT.out,
) -> None:
    """Compare counts with the published ones; look for missing, undecodable and copied images, and for leaks.

    Exit code 1 when anything is wrong; every image that is concerned is listed in OUT/checks.
    """
    if everything and sample is not None:
        raise UsageError("--all decodes every image and --sample some of them; leave one out.")

    from probe.data import (
        all_datasets,
        check_data,
        choose_workers,
        print_check,
        resolve_data,
        source_roots,
        summary_line,
        write_findings,
    )
    from probe.terminal import printer

    decode = None if everything else SAMPLE if sample is None else sample
    workers = choose_workers(shared=False)[0] if workers is None else workers
    published = {dataset.name: dataset.counts for dataset in all_datasets(datasets)}
    roots = source_roots(source_root or [])
    summaries, sound = [], True
    for name, manifest in [(name, resolve_data(name, data_root, roots, datasets)) for name in data]:
        counts = published.get(name, ())
        checked = check_data(name, manifest, counts, decode, workers, data_root, datasets)
        print_check(checked, printer())
        findings = out / "checks" / f"{file_name(name)}.csv"
        write_findings(checked, findings)
        sound &= checked.is_sound
        summaries.append(summary_line(checked) + (f"; all of them in {findings}" if checked.findings else ""))
    for line in summaries:
        printer().print(line, markup=False, soft_wrap=True)
    if not sound:
        raise typer.Exit(1)


@app.command(epilog="Example: probe data curate recipes/curation/m4d-35k.yaml")
def curate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, such as those in recipes/curation.")],
    row: Annotated[
        str | None, typer.Option(help="Only the training set of this name.", show_default="all of the recipe")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="the training set's, in --data-root")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier draw.")] = False,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
) -> None:
    """Draw a recipe's training sets from the data sets that are here, and write them as manifests.

    Where the published list of one is here, it is written, and what would be drawn is compared with it.
    """
    from probe.data import curate, find_curation, print_curated, read_curations, write_curated
    from probe.progress import say
    from probe.terminal import printer

    curations = read_curations(recipe)
    workspace = Workspace(data_root, DEFAULT.cache, DEFAULT.out, datasets)
    if row is not None:
        curations = [find_curation(row, curations)]
    if output is not None and len(curations) > 1:
        raise UsageError(f"{recipe} has {len(curations)} training sets; name one with --row, or leave out --output.")
    folders = [output or data_root / curation.name for curation in curations]
    for curation, folder in zip(curations, folders, strict=True):
        _require_free(folder, curation, workspace, overwrite)
    _require_sources(curations, workspace)
    read = cache(lambda name: _read(name, workspace))
    for curation, folder in zip(curations, folders, strict=True):
        curated = curate(curation, read)
        print_curated(curated.report, printer())
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
        words = ["probe", "extract", *drawn, "--backbone", "NAME", *workspace.options("data_root")]
        say(f"next: {shlex.join(words)}      # no table trains on it; `probe backbones` has the names")


def _require_free(folder: Path, curation: "Curation", workspace: Workspace, overwrite: bool) -> None:
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
    if "manifest.parquet" in held and not overwrite:
        raise UsageError(f"{folder / 'manifest.parquet'} exists already; move it away or add --overwrite.")
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


def _require_sources(curations: "list[Curation]", workspace: Workspace) -> None:
    """Raises MissingDataError naming all that is needed and is not here, and where to get it."""
    from probe.data import MissingDataError, all_datasets, is_here

    homes = {dataset.name: dataset.row.home for dataset in all_datasets(workspace.datasets)}
    needed = [
        source.data
        for curation in curations
        if curation.released is None or not is_here(curation.released, workspace.data_root, workspace.datasets)
        for source in curation.sources
    ]
    absent = [name for name in dict.fromkeys(needed) if not is_here(name, workspace.data_root, workspace.datasets)]
    if absent:
        named = ", ".join(f"{name} ({homes.get(name, 'not a known data set')})" for name in absent)
        raise MissingDataError(
            f"the recipe draws from data that is not, or not complete, below {workspace.data_root}: {named}; "
            "`probe data list NAME` says which files are looked for, and where."
        )


def _read(name: str, workspace: Workspace) -> "Manifest":
    from probe.data import is_known, known_data, resolve_data

    if is_known(name, workspace.datasets):
        return known_data(name, workspace.data_root, workspace.datasets)
    return resolve_data(name, workspace.data_root, datasets=workspace.datasets)
