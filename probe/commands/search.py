"""`probe search`: the images of an index that are nearest to an image, or to several.

probe search photos.index query.jpg -k 10 --where "label = 'shoe'"
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.index import IndexPath, Precision, Run
from probe.commands.options import Device, MovedWeights
from probe.device import DeviceChoice
from probe.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

    from probe.index import Hits, Index, Query


def search(
    index: IndexPath,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE", help="Files, folders, tars, patterns in quotes; each image is a query of its own."
        ),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Hits of each query.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Search rows only for which this holds, in SQL: \"label = 'shoe'\".")
    ] = None,
    exclude_self: Annotated[bool, typer.Option("--exclude-self", help="Leave out the query's own file.")] = False,
    mean: Annotated[bool, typer.Option("--mean", help="All images together are one query: their mean.")] = False,
    minus: Annotated[
        list[str] | None, typer.Option(metavar="IMAGE", help="Take the mean of these away from each query.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="Search for a part of the image, in pixels.")
    ] = None,
    false_match_rate: Annotated[
        float | None,
        typer.Option(help="Say which hits are none: this share of queries without a match gets one, as 0.05."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Exactly, where there is a structure too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page of the hits.", show_default=False)] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the hits in the browser.")] = False,
    run: Run = None,
    weights: MovedWeights = None,
    precision: Precision = None,
    device: Device = DeviceChoice.auto,
) -> None:
    """Search an index for the images that are most similar to each of the images."""
    from probe.embed import named_images
    from probe.index import Box, Index, Query
    from probe.progress import say

    opened = Index.open(index, run=run, weights=weights, device=device, precision=precision)
    taken, without = named_images(images), named_images(minus or [])
    part = Box.parse(box) if box else None
    together = [taken] if mean else [[image] for image in taken]
    queries = [Query(_name(each, without), each, without, part) for each in together]
    hits = opened.search(
        queries, k, where=where, exclude_self=exclude_self, exact=exact, false_match_rate=false_match_rate
    )
    if not hits.exact:
        say("found by an approximate structure, which can miss a neighbour; --exact finds all")
    if false_match_rate is not None and opened.manifest.no_match:
        say(opened.manifest.no_match.promise)
    if as_json:
        typer.echo(hits.to_json())
    else:
        _print(hits, opened, queries)
    if page or open_page:
        _show(opened, queries, hits, page, open_page)


def _name(images: list, without: list) -> str:
    """What a query is called: `a.jpg`, `3 images`, `a.jpg without red.jpg`."""
    named = images[0].name if len(images) == 1 else f"{len(images)} images"
    less = without[0].name if len(without) == 1 else f"{len(without)} images"
    return f"{named} without {less}" if without else named


def _print(hits: "Hits", index: "Index", queries: "list[Query]") -> None:
    """A table for each query: rank, similarity, id, and label where there is one; above it, where the terminal can show
    them, the query and as many hits as it has room for."""
    from rich.table import Table
    from rich.text import Text

    from probe.commands.thumbnails import CELLS, escapes, images_of_terminal, strip
    from probe.terminal import printer

    console = printer()
    protocol = images_of_terminal(os.environ, sys.stdout.isatty())
    shown = ["rank", "similarity", *(name for name in ("match", "id", "label") if name in hits.frame.columns)]
    for number, query in enumerate(hits.queries):
        console.print(Text(query, style="bold"), soft_wrap=True)
        if protocol:
            room = max(2, console.width // CELLS)
            images = _images(index, queries[number], hits.of(number)["id"].head(room - 1).to_list())
            sys.stdout.write(escapes(strip(images), protocol, CELLS * len(images)))
            sys.stdout.flush()
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in shown:
            table.add_column(name, justify="right" if name in ("rank", "similarity") else "left", no_wrap=True)
        for row in hits.of(number).iter_rows(named=True):
            cells = {**row, "similarity": f"{row['similarity']:.4f}", "match": "yes" if row.get("match") else "no"}
            table.add_row(*(Text("" if cells[name] is None else str(cells[name])) for name in shown))
        console.print(table if table.rows else "nothing: no row is searched")


def _images(index: "Index", query: "Query", ids: list[str]) -> "list[Image.Image | None]":
    """Of a query and its hits; None for a file that is gone, or was never there."""
    from probe.errors import ProbeError

    found: list[Image.Image | None] = [image.decode() for image in query.images[:1]]
    for id in ids:
        try:
            found.append(index.image(id))
        except ProbeError:
            found.append(None)
    return found


def _show(index: "Index", queries: "list[Query]", hits: "Hits", page: Path | None, open_page: bool) -> None:
    import tempfile
    import webbrowser

    from probe.index import hits_page
    from probe.progress import say
    from probe.storage import write_whole

    path = page or Path(tempfile.mkdtemp(prefix="probe-")) / "hits.html"
    write_whole(path, hits_page(index, queries, hits).encode())
    say(f"{path}: {len(hits.frame):,} hits")
    if open_page and not webbrowser.open(path.resolve().as_uri()):
        raise UsageError(f"there is no browser to open; look at {path} yourself.")
