"""Retrieval examples (UnED, Fig. 3): queries and their neighbours, right ones framed green with a tick, wrong ones red
with a cross, for two rows of the recipe; of each domain the queries on which the two differ most.

Each query has as many neighbours as it has images to be found, at most five: the others do not count.

    draw(inventory, table)        # a Figure, or None where no run is finished or no image is here
"""

from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from probe.planning import Inventory
from probe.recipes import MEAN, Row
from probe.report.figures.figure import FigureKind
from probe.report.figures.mosaic import PX, Strip, Tile, mosaic
from probe.report.queries import KEY, first_finished_seed, queries
from probe.report.table import Table
from probe.report.thumbnails import Thumbnails

METRIC = "mMP@5"
NEIGHBOURS = 5
MOST_QUERIES = 8  # at least one a domain
CAPTION = (
    "Queries and their nearest neighbours: ✓ and a green frame where the class is right, ✗ and a red frame where it is "
    "not. A query has at most as many neighbours as it has images to find. The queries are those of each domain on "
    "which the two rows differ most."
)


@dataclass(frozen=True)
class Retrieval:
    """What one row retrieved for a query."""

    row: str
    neighbours: list[tuple[str, str, bool]]
    """Source, id and whether it is right; best first."""


@dataclass(frozen=True)
class Example:
    domain: str
    query: tuple[str, str]
    """Source and id."""
    retrievals: list[Retrieval]
    """Of the compared rows."""


def compared_rows(inventory: Inventory, table: Table) -> list[Row]:
    """The first measured row that is not the best, and the best; fewer where fewer are measured."""
    scored = {row.name: cell.mean for row in table.rows if (cell := row.cell(MEAN, METRIC))}
    if not scored:
        return []
    best = max(scored, key=lambda name: scored[name])
    names = [*[name for name in scored if name != best][:1], best]
    rows = {row.name: row for row in inventory.recipe.rows}
    return [rows[name] for name in names]


def examples(inventory: Inventory, table: Table) -> list[Example]:
    """Equally many of each domain, by the difference between the rows, then by their ids."""
    rows = compared_rows(inventory, table)
    frames = [queries(row, first_finished_seed(inventory, row), inventory.recipe.display.indexes[0]) for row in rows]
    if not frames:
        return []
    joined = frames[0].join(frames[-1], on=KEY, how="inner", suffix=" b").filter(pl.col("n") > 0)
    gap = (pl.col(METRIC) - pl.col(f"{METRIC} b")).abs()
    wrong = 1 - pl.col(METRIC)  # where there is one row only
    ranked = joined.sort([gap, wrong, *map(pl.col, KEY)], descending=[True, True, *[False] * len(KEY)])
    each = max(1, MOST_QUERIES // joined["domain"].n_unique()) if len(joined) else 0
    found = []
    for (domain,), of_domain in sorted(ranked.group_by("domain", maintain_order=True)):
        for query in of_domain.head(each).iter_rows(named=True):
            suffixes = ["", " b"][: len(rows)]
            retrievals = [_retrieval(row.name, query, suffix) for row, suffix in zip(rows, suffixes, strict=True)]
            found.append(Example(str(domain), (query["source"], query["image"]), retrievals))
    return found


def _retrieval(row: str, query: dict[str, Any], suffix: str) -> Retrieval:
    count = min(query["n"], NEIGHBOURS)
    parts = (query[f"{name}{suffix}"][:count] for name in ("neighbour_sources", "neighbours", "hits"))
    return Retrieval(row, list(zip(*parts, strict=True)))


def draw(inventory: Inventory, table: Table) -> Figure | None:
    """None where no run is finished, or the manifest is not here."""
    chosen = examples(inventory, table)
    if not chosen or inventory.manifest is None:
        return None
    thumbnails = Thumbnails(inventory.manifest, PX)
    strips = []
    for example in chosen:
        query: Tile | None = Tile(thumbnails.get(*example.query))
        name = f"{example.domain}\n"
        for retrieval in example.retrievals:
            tiles = [Tile(thumbnails.get(source, image), bool(hit)) for source, image, hit in retrieval.neighbours]
            strips.append(Strip(name + retrieval.row, [query, *tiles]))
            name, query = "", None
    return mosaic(strips)


FIGURE = FigureKind("examples", "Retrieval examples", CAPTION, draw, position=5, photographs=True)
