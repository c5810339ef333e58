"""`probe index`: one's own images as something that is searched, and that follows their folders.

probe index create INDEX RUN · add INDEX SOURCE · update INDEX · remove INDEX ID · info · verify · compact
probe index build INDEX --kind ivf · calibrate INDEX DATA · duplicates INDEX --against OTHER
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import DEFAULT, DataRoot, Device, MovedWeights, Scored, StoredAs
from probe.device import DeviceChoice
from probe.errors import UsageError
from probe.precision import PrecisionChoice
from probe.terminal import visible

if TYPE_CHECKING:
    from probe.index import Changes, EmbedderRecord, Index

SHOWN = 5
MOST_PRINTED = 100  # pairs


class KindChoice(StrEnum):
    """What `--kind` takes."""

    auto = "auto"
    flat = "flat"
    ivf = "ivf"
    ivfpq = "ivfpq"
    hnsw = "hnsw"
    rabitq = "rabitq"


HDF5 = (".h5", ".hdf5")

app = typer.Typer(no_args_is_help=True, help="Make an index of images, keep it in step with their folders, check it.")

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of an index.")]
Run = Annotated[Path | None, typer.Option("--run", help="The run, where it is not where it was.", show_default=False)]
Precision = Annotated[
    PrecisionChoice | None, typer.Option(help="Of the vectors; another is refused.", show_default="that of the index")
]
Batch = Annotated[int, typer.Option(min=1, help="Images in a forward pass.")]


@app.command(epilog="Example: probe index create photos.index out/runs/mobilenetv1_*")
def create(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A folder that is not there yet.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, or what `probe export` made of one.")],
    dtype: Annotated[StoredAs, typer.Option(help="How vectors are stored, and so compared.")] = StoredAs.float32,
    fit_to_collection: Annotated[
        bool, typer.Option("--fit-to-collection", help="Fit the last step of the run's head to the index's own images.")
    ] = False,
    weights: MovedWeights = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(help="Of the forward pass, which the index keeps.", show_default="that of the run's features"),
    ] = None,
    device: Device = DeviceChoice.auto,
) -> None:
    """Make an empty index, whose images will be embedded by a finished run, or by an export of one."""
    from probe.index import Index
    from probe.progress import say

    made = Index.create(
        index,
        run,
        dtype=dtype.value,
        weights=weights,
        device=device,
        precision=precision,
        fit_to_collection=fit_to_collection,
    )
    say(f"{index}: vectors of {made.manifest.dim} dimensions; add images with `probe index add {index} FOLDER`")


@app.command(epilog="Example: probe index add photos.index ~/photos")
def add(
    index: IndexPath,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, data sets, manifests, tars, files, patterns in quotes; `-`: a list on standard input; "
            "embeddings that `probe embed` wrote as .h5.",
        ),
    ],
    run: Run = None,
    weights: MovedWeights = None,
    precision: Precision = None,
    batch: Batch = 64,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
) -> None:
    """Add images. What is there already is left as it is, or replaced where the file is another one.

    Images that cannot be decoded are named and left out. An interrupted command goes on where it stopped.
    """
    from probe.index import Index
    from probe.progress import say

    opened = Index.open(index, run=run, weights=weights, device=device, precision=precision)
    stores = [source for source in sources if source.endswith(HDF5)]
    images = [source for source in sources if source not in stores]
    for store in stores:
        say(f"{store}: {opened.add_embedded(store):,} vectors added")
    if images:
        _say(opened.add(*images, data_root=data_root, batch_size=batch, show_progress=True))
    say(f"{index}: {len(opened):,} rows{_fit_of(opened)}")


@app.command(epilog="Example: probe index update photos.index")
def update(
    index: IndexPath,
    refit: Annotated[
        bool, typer.Option("--refit", help="Then fit an index made with --fit-to-collection to all its images anew.")
    ] = False,
    run: Run = None,
    weights: MovedWeights = None,
    precision: Precision = None,
    batch: Batch = 64,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
) -> None:
    """Look at everything that was added again: take in what is new, replace what has changed, remove what is gone."""
    from probe.index import Index
    from probe.progress import say

    opened = Index.open(index, run=run, weights=weights, device=device, precision=precision)
    _say(opened.update(data_root=data_root, batch_size=batch, show_progress=True, refit=refit))
    say(f"{index}: {len(opened):,} rows{_fit_of(opened)}")


@app.command(epilog="Example: probe index remove photos.index photos/blurred.jpg")
def remove(
    index: IndexPath,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As a search prints them.")] = None,
    source: Annotated[str | None, typer.Option(help="Everything of a source, which is followed no longer.")] = None,
) -> None:
    """Remove rows. What a folder still has comes back with the next update, unless its source is taken out."""
    from probe.index import Index
    from probe.progress import say

    if bool(ids) == bool(source):
        raise UsageError("name ids, or a source with --source; one of the two.")
    opened = Index.open(index)
    if source:
        say(f"{source}: {opened.remove_source(source):,} rows removed")
    else:
        opened.remove(ids or [])
    say(f"{index}: {len(opened):,} rows")


@app.command(epilog="Example: probe index info photos.index")
def info(index: IndexPath) -> None:
    """Show what an index is of: its embedder, its sources with their images, its columns, and what it takes on disk."""
    from rich.filesize import decimal

    from probe.index import Index
    from probe.terminal import printer

    opened, console = Index.open(index), printer()
    manifest = opened.manifest
    removed = sum(segment.rows - segment.live for segment in manifest.segments)
    record = manifest.embedder
    size = sum(file.stat().st_size for file in index.iterdir())
    lines = {
        "rows": f"{len(opened):,} of {manifest.dim} dimensions, {manifest.dtype}, by {manifest.distance} distance"
        f"{_fit_of(opened)}",
        "embedder": f"the run {record.run[:12]}{_made_in(record)}, last in {record.path}" if record else "elsewhere",
        "segments": f"{len(manifest.segments)}, with {removed:,} removed rows; {decimal(size)} on disk",
        "columns": ", ".join(opened.state.schema) or "none yet",
    }
    for segment in manifest.segments:
        if found := segment.approximate:
            measured = f"recall@10 {found.recall:.3f}, {found.queries_per_second:,.0f} queries/s"
            rows = f"{segment.rows:,} rows, {decimal(found.bytes)}"
            lines["approximate"] = f"{found.kind} over {rows}; {measured} on {found.queries} held-out queries"
    for name, value in lines.items():
        console.print(f"{name}: {value}", soft_wrap=True)
    for name, root in manifest.roots.items():
        count = len(opened.state.ids_where("source", [name]))
        console.print(f"source {name or '(loose files)'}: {count:,} images in {root}", soft_wrap=True)


@app.command(epilog="Example: probe index verify photos.index")
def verify(index: IndexPath) -> None:
    """Read every byte of an index; exit code 1 where one is not what was written."""
    from probe.index import Index
    from probe.progress import say

    opened = Index.open(index)
    opened.verify()
    say(f"{index}: {len(opened):,} rows, all good")


@app.command(epilog="Example: probe index compact photos.index")
def compact(index: IndexPath) -> None:
    """Write all rows as one segment, without those that are removed."""
    from probe.index import Index
    from probe.progress import say

    opened = Index.open(index)
    opened.compact()
    say(f"{index}: {len(opened):,} rows")


@app.command(epilog="Example: probe index build photos.index --kind auto --recall 0.95 --memory 2GB")
def build(
    index: IndexPath,
    kind: Annotated[KindChoice, typer.Option(help="flat is exact; auto chooses, and says why.")] = KindChoice.auto,
    recall: Annotated[float, typer.Option(help="Of the 10 nearest, which share is to be found.")] = 0.95,
    memory: Annotated[
        str | None, typer.Option(help="That it may take: 2GB, 500MB.", show_default="half of what is free")
    ] = None,
) -> None:
    """Make an approximate structure over the rows of a large index, tuned to a recall, and measure it.

    What is added later is searched exactly, beside it. flat takes the structure away again.
    """
    from probe.index import Index, parse_bytes
    from probe.progress import say

    opened = Index.open(index)
    opened.build(kind.value, recall=recall, memory=parse_bytes(memory) if memory else None, say=say)


@app.command(epilog="Example: probe index duplicates train.index --against test.index --page leaks.html")
def duplicates(
    index: IndexPath,
    against: Annotated[
        Path | None, typer.Option(metavar="INDEX", help="Compare with the images of this one.", show_default=False)
    ] = None,
    threshold: Annotated[float, typer.Option(help="The least cosine of near-duplicates.")] = 0.95,
    csv: Annotated[Path | None, typer.Option(help="Write the pairs as CSV.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the pairs as JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page of the groups.", show_default=False)] = None,
    run: Run = None,
) -> None:
    """Find near-duplicates in an index, or between two: which test images are in the training set?"""
    from probe.index import Index, duplicates_page, near_pairs
    from probe.progress import say, track
    from probe.storage import write_whole
    from probe.terminal import literal

    opened = Index.open(index, run=run)
    other = Index.open(against) if against else None
    total = len(opened) * len(other) if other else len(opened) * (len(opened) + 1) // 2
    with track("compare", total, "pairs", patience=1.0) as advance:
        found = near_pairs(opened, other, threshold, advance)
    say(f"{found.pairs.height:,} pairs of {threshold:g} or more, in {found.groups:,} groups")
    if csv:
        import polars as pl

        safe = found.pairs.with_columns(pl.col("a", "b").map_elements(literal, pl.String))
        write_whole(csv, safe.write_csv().encode())  # what a full disk says, Polars tells as an error of its own
    if page:
        write_whole(page, duplicates_page(found, opened, other).encode())
    if as_json:
        typer.echo(found.pairs.write_json())
    elif not csv and not page:
        for row in found.pairs.head(MOST_PRINTED).iter_rows(named=True):
            typer.echo(f"{row['similarity']:.4f}  {visible(row['a'])}  {visible(row['b'])}")
        if found.pairs.height > MOST_PRINTED:
            say(f"and {found.pairs.height - MOST_PRINTED:,} more; --csv FILE has all")


@app.command(epilog="Example: probe index calibrate photos.index pocket")
def calibrate(
    index: IndexPath,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set with a manifest: what queries will be like.")],
    split: Annotated[Scored, typer.Option(help="Of the data; its classes should be none that were trained on.")] = (
        Scored.val
    ),
    domain: Annotated[str | None, typer.Option(help="Of the data, this domain alone.", show_default=False)] = None,
    run: Run = None,
    weights: MovedWeights = None,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
) -> None:
    """Learn how similar hits are of images that the index has nothing of, for `probe search --false-match-rate`."""
    from probe.index import Index
    from probe.progress import say

    opened = Index.open(index, run=run, weights=weights, device=device)
    record = opened.calibrate(data, split=split.value, domain=domain, data_root=data_root, show_progress=True)
    say(record.promise)


def _fit_of(index: "Index") -> str:
    """What an index was fitted to, where it was, to come after its rows."""
    fit = index.manifest.fit
    if fit is None:
        return ""
    if not fit.rows:
        return ", not fitted to them yet, as there are too few"
    again = f"; fit it again: probe index update {index.path} --refit" if index.manifest.outgrown else ""
    return f", fitted to {fit.rows:,}{again}"


def _made_in(record: "EmbedderRecord") -> str:
    """The precision of its vectors, to come after the run."""
    return f" in {' and '.join(sorted(set(record.precisions.values())))}" if record.precisions else ""


def _say(changes: "Changes") -> None:
    from probe.progress import say

    counts = {"added": changes.added, "replaced": changes.replaced, "removed": changes.removed}
    say(", ".join(f"{count:,} {what}" for what, count in counts.items()) + f"; {changes.unchanged:,} unchanged")
    if changes.failures:
        say(f"{len(changes.failures):,} could not be decoded and are not in it:")
    for failure in changes.failures[:SHOWN]:
        say(f"  {failure.id}: {failure.reason}")
