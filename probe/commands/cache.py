"""`probe cache`: what feature stores there are, whether they are whole, and how features get in and out.

probe cache list · info STORE · verify · merge STORE · drop STORE · import FILE · export STORE FILE
"""

import math
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import DEFAULT, Cache, Json, StoredAs
from probe.errors import UsageError, nearest
from probe.workspace import Workspace

if TYPE_CHECKING:
    from feature_cache import FeatureStore, Listed

SHOWN = 5

app = typer.Typer(no_args_is_help=True, help="Look at feature stores, check and mend them, import and export features.")

Store = Annotated[str, typer.Argument(metavar="STORE", help="A name that `probe cache list` prints, or a file.")]


@app.command("list", epilog="Example: probe cache list")
def list_stores(json: Json = False, cache: Cache = DEFAULT.cache) -> None:
    """List all feature stores: what made them, how many images they hold, and whether they are whole."""
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from feature_cache import describe, find_stores
    from probe.commands.answers import print_json, stores_answer
    from probe.terminal import print_table, print_text, printer

    table = Table("store", "made by", "images", "failed", "dim", "dtype", "size", "state")
    for column in (2, 3, 4, 6):
        table.columns[column].justify = "right"
    stores = [describe(path) for path in find_stores(cache)]
    if json:
        print_json(stores_answer({_name(found.path, cache): found for found in stores}))
        return
    for found in stores:
        store = found.store
        numbers = [f"{len(store):,}", f"{len(store.failed):,}", str(store.dim), str(store.dtype)] if store else [""] * 4
        made_by = _made_by(store) if store else ""
        row = (_name(found.path, cache), made_by, *numbers, decimal(found.bytes), _state(found))
        table.add_row(*map(Text, row))
    if table.rows:
        print_table(table, printer())
    else:
        print_text(f"There are no feature stores in {cache}; `probe extract` makes them.", printer())


@app.command(epilog="Example: probe cache info sample/descriptor")
def info(store: Store, cache: Cache = DEFAULT.cache) -> None:
    """Show everything a store says about itself: what produced it, its images, and which could not be decoded."""
    import yaml

    from feature_cache import StoreError, describe
    from probe.terminal import printer

    found = describe(_find(store, cache))
    if found.store is None:
        raise StoreError(found.problem)
    opened, console = found.store, printer()
    lines = {
        "file": found.path,
        "state": _state(found),
        "images": f"{len(opened):,} of {opened.dim} dimensions, {opened.dtype}",
        "image files": _known_contents(opened),
        "fingerprint": opened.fingerprint,
    }
    lines |= {"not covered": opened.not_covered} if opened.not_covered else {}
    lines |= {"weights": ", ".join(opened.remarks.weights.values())} if opened.remarks.weights else {}
    for name, value in lines.items():
        console.print(f"{name}: {value}", soft_wrap=True)
    console.print(f"failed: {len(opened.failed):,}")
    for reason, count in Counter(failure.reason for failure in opened.failed).most_common(SHOWN):
        example = next(failure.id for failure in opened.failed if failure.reason == reason)
        console.print(f"  {count:,} x {reason} (such as {example})", soft_wrap=True)
    for name, part in {"spec": opened.spec, "compared": opened.remarks.evidence}.items():
        if part:
            text = yaml.safe_dump({name: part}, sort_keys=False, allow_unicode=True, indent=2, width=math.inf)
            console.print(text, end="", soft_wrap=True)


@app.command(epilog="Example: probe cache verify")
def verify(
    stores: Annotated[list[str] | None, typer.Argument(metavar="[STORE]...", show_default="all")] = None,
    cache: Cache = DEFAULT.cache,
) -> None:
    """Read every byte of the stores and say which rows are bad; exit code 1 when any is."""
    from feature_cache import StoreError, find_stores, verify, written_files
    from probe.progress import say

    faulty = 0
    for path in [_find(store, cache) for store in stores or []] or find_stores(cache):
        for file in written_files(path):
            try:
                with _rows(f"verify {_name(file, cache)}", file) as advance:
                    report = verify(file, advance)
            except StoreError as error:
                faulty += 1
                say(str(error))
                continue
            if not report.problems:
                say(f"{file}: {len(report.bad):,} rows, all good")
                if report.not_covered:
                    say(f"  as far as that can be told: {report.not_covered}")
                continue
            faulty += 1
            say(f"{file}: {int(report.bad.sum()):,} of {len(report.bad):,} rows are bad")
            for line in report.problems[:SHOWN]:
                say(f"  {line}")
            if len(report.problems) > SHOWN:
                say(f"  and {len(report.problems) - SHOWN:,} more problems")
            known = [image for image in report.bad_ids if image is not None]
            say(f"  images: {', '.join(known[:SHOWN])}{', ...' if len(known) > SHOWN else ''}")
            remedy = ["probe", "cache", "drop", _name(path, cache), "--damaged", *_workspace(cache).options("cache")]
            say(f"  take them out, to be extracted again: {shlex.join(remedy)}")
    if faulty:
        raise typer.Exit(1)


@app.command(epilog="Example: probe cache merge gldv2/siglip from_node2/gldv2/siglip.h5")
def merge(
    store: Store,
    others: Annotated[
        list[str] | None, typer.Argument(metavar="[OTHER]...", help="Stores whose images to add, of the same spec.")
    ] = None,
    cache: Cache = DEFAULT.cache,
) -> None:
    """Merge the parts of an interrupted extraction into its store, and other stores of the same spec."""
    from feature_cache import FeatureStore, StoreWriter
    from probe.progress import say

    path = _find(store, cache)
    sources = [FeatureStore(_find(other, cache)) for other in others or []]
    if any(source.path.samefile(path) for source in sources if path.exists()):
        raise UsageError(f"{path} cannot be merged into itself; name another store.")
    with StoreWriter.resume(path) as writer:
        writer.finish(renew=True)
        for source in sources:
            say(f"{source.path}: {writer.absorb(source):,} of {len(source):,} images are new")
    say(f"{path}: {len(FeatureStore(path)):,} images")


@app.command(epilog="Example: probe cache drop sample/descriptor --yes")
def drop(
    store: Store,
    damaged: Annotated[bool, typer.Option("--damaged", help="Only the rows that `verify` finds bad.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cache: Cache = DEFAULT.cache,
) -> None:
    """Delete a store, or with --damaged only its bad rows; the next `probe extract` makes what is gone anew."""
    from feature_cache import drop, repair
    from probe.progress import say

    path = _find(store, cache)
    if damaged:
        for report in repair(path):
            lost = ", and the list of the images that gave no features" if report.failures_lost else ""
            say(f"{report.path}: took out {int(report.bad.sum()):,} of {len(report.bad):,} rows{lost}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this deletes {path}; add --yes to do it without being asked.")
        typer.confirm(f"Delete {path}?", abort=True)
    drop(path)
    say(f"{path} is deleted")


@app.command("import", epilog="Example: probe cache import clip.npy --ids clip.ids.txt --source pocket --name clip")
def import_features(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            help="A .npy (with --ids), a .parquet or a folder of them, clip-retrieval's folder, ILIAS's HDF5.",
        ),
    ],
    source: Annotated[str, typer.Option(help="The image source, as manifests name it.")],
    name: Annotated[str, typer.Option(help="What to call the backbone; the store is foreign:NAME.")],
    ids: Annotated[
        Path | None,
        typer.Option(
            exists=True, help="The rows' ids: one a line, a JSON list, .npy, or a column of .csv or .parquet."
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="The column of ids in Parquet or CSV.")] = None,
    vector_column: Annotated[str | None, typer.Option(help="Parquet's column of vectors.")] = None,
    strip: Annotated[str, typer.Option(help="What to take off the front of each id.", show_default=False)] = "",
    dtype: Annotated[StoredAs | None, typer.Option(help="How to store them.", show_default="as in the file")] = None,
    cache: Cache = DEFAULT.cache,
) -> None:
    """Make a store of features that another program extracted. Its provenance is recorded as foreign."""
    from feature_cache import FeatureStore, StoreWriter, read_foreign
    from probe.progress import say, track

    found = read_foreign(
        file, ids=ids, id_column=id_column, vector_column=vector_column, strip=strip, dtype=dtype and dtype.value
    )
    path = _workspace(cache).store(source, f"foreign:{name}")
    with (
        StoreWriter(path, found.spec, dtype=found.dtype) as writer,
        track(f"import {file.name}", len(found), "rows") as advance,
    ):
        found.write(writer, advance)
    say(f"{len(FeatureStore(path)):,} images of {source} in {path}")


@app.command(epilog="Example: probe cache export sample/descriptor descriptor.npy")
def export(
    store: Store,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .npy to write; the ids go beside it.")],
    cache: Cache = DEFAULT.cache,
) -> None:
    """Write a store's features as .npy, and its ids as text, one a line."""
    from feature_cache import FeatureStore, export_npy
    from probe.progress import say

    opened = FeatureStore(_find(store, cache))
    with _rows(f"export {store}", opened.path) as advance:
        ids = export_npy(opened, file, advance)
    say(f"{len(opened):,} x {opened.dim} {opened.dtype} in {file}, ids in {ids}")


def _find(store: str, cache: Path) -> Path:
    """The store of that name or path. Raises UsageError with the nearest name."""
    from feature_cache import find_stores, written_files

    for path in (Path(store), cache / f"{store}.h5"):
        if path.suffix == ".h5" and written_files(path):
            return path
    names = [_name(path, cache) for path in find_stores(cache)]
    known = nearest(store, names) if names else "there is none at all; `probe extract` makes them."
    raise UsageError(f"there is no feature store '{store}' in {cache}; {known}")


def _workspace(cache: Path) -> Workspace:
    return Workspace(DEFAULT.data_root, cache, DEFAULT.out)


def _name(path: Path, cache: Path) -> str:
    return str(path.relative_to(cache).with_suffix("")) if path.is_relative_to(cache) else str(path)


def _rows(description: str, path: Path):
    from feature_cache import FeatureStore
    from probe.progress import track

    return track(description, len(FeatureStore(path)), "rows")


def _made_by(store: "FeatureStore") -> str:
    if store.spec.get("provenance") == "foreign":
        return f"foreign ({store.spec['format']})"
    backbone = store.spec.get("backbone", {})
    return f"{backbone.get('library', 'unknown')}: {backbone.get('model', 'unknown')}"


def _state(found: "Listed") -> str:
    if found.problem:
        return found.problem
    parts = f"{found.parts:,} part(s) to be merged" if found.parts else "complete"
    return f"{parts}, being written by {found.writer}" if found.writer else parts


def _known_contents(store: "FeatureStore") -> str:
    known = int((store.contents != 0).sum())
    return "digests not known" if not known else f"digests of {known:,} known"
