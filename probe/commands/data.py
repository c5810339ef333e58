"""`probe data`: which data sets are known and are here, whether they are sound, and training sets drawn from them.

probe data list [NAME] · check DATA... · stats [DATA]... · curate RECIPE
"""

from typing import Annotated

import typer

from probe.commands.curate import curate
from probe.commands.options import DEFAULT, DataRoot, Datasets, Json, Out
from probe.errors import UsageError
from probe.workspace import file_name

SAMPLE = 300

app = typer.Typer(no_args_is_help=True, help="Look at data sets, check them, count them, and draw training sets.")


@app.command("list", epilog="Example: probe data list sop")
def list_datasets(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A data set to describe in full.")] = None,
    json: Json = False,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
) -> None:
    """List the data sets that are known: where to get them, what is published of them, and whether they are here."""
    from probe.commands.answers import datasets_answer, print_json
    from probe.data import all_datasets, find_dataset, print_dataset, print_datasets
    from probe.terminal import printer

    if json:
        chosen = all_datasets(datasets) if name is None else [find_dataset(name, datasets)]
        print_json(datasets_answer(chosen, data_root))
    elif name is None:
        print_datasets(all_datasets(datasets), data_root, printer())
    else:
        print_dataset(find_dataset(name, datasets), data_root, printer())


@app.command(epilog="Example: probe data stats sample")
def stats(
    data: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATA]...", help="Data to count.", show_default="the tables of UnED and UniFEx"),
    ] = None,
    json: Json = False,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
) -> None:
    """Count images and classes: of the data named, or the papers' tables beside what is here of them."""
    from probe.commands.answers import counts_answer, print_json
    from probe.data import class_sizes, known_data, measured_tables, print_sizes, print_tables, resolve_data
    from probe.terminal import printer

    manifests = {name: resolve_data(name, data_root, datasets=datasets) for name in data or []}
    tables = [] if data else measured_tables(lambda name: known_data(name, data_root, datasets))
    if json:
        print_json(counts_answer(manifests, tables))
        return
    for manifest in manifests.values():
        print_sizes(manifest.where, class_sizes(manifest), printer())
    if tables:
        print_tables(tables, printer())


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
    from probe.terminal import print_text, printer

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
        print_text(line, printer())
    if not sound:
        raise typer.Exit(1)


app.command(epilog="Example: probe data curate recipes/curation/m4d-35k.yaml")(curate)
