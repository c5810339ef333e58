"""Retrieval examples (UnED, Fig. 3): queries and their neighbours, right ones framed green with a tick, wrong ones red
with a cross, for two rows of the recipe; of each domain the queries on which the two differ most.

As many neighbours are shown as there are images to be found, at most five: the others do not count.

    draw(bench, table)        # a Figure, or None where no run is finished or no image is here
"""

from dataclasses import dataclass

import polars as pl
from matplotlib.figure import Figure

from probe.planning.inventory import Bench
from probe.recipes.reference import MEAN
from probe.recipes.row import Row
from probe.report.figures.mosaic import PX, Strip, Tile, mosaic
from probe.report.queries import KEY, first_finished, queries
from probe.report.table import Table
from probe.report.thumbnails import Pictures

METRIC = "mMP@5"
SHOWN = 5
MOST = 8  # queries, at least one a domain
CAPTION = (
    "Queries and their nearest neighbours: ✓ and a green frame where the class is right, ✗ and a red frame where it is "
    "not. Only as many neighbours are shown as there are images to be found. The queries are those of each domain on "
    "which the two rows differ most."
)


@dataclass(frozen=True)
class Found:
    """What one row found for a query: source, id and whether it is right, best first."""

    row: str
    neighbours: list[tuple[str, str, bool]]


@dataclass(frozen=True)
class Example:
    domain: str
    query: tuple[str, str]
    found: list[Found]


def compared_rows(bench: Bench, table: Table) -> list[Row]:
    """The row with the best mean and, to compare, the first other one; fewer where fewer are measured."""
    scored = {line.name: line.cells[MEAN][METRIC].mean for line in table.rows if METRIC in line.cells.get(MEAN, {})}
    if not scored:
        return []
    best = max(scored, key=lambda name: scored[name])
    names = [*[name for name in scored if name != best][:1], best]
    rows = {row.name: row for row in bench.recipe.rows}
    return [rows[name] for name in names]


def examples(bench: Bench, table: Table) -> list[Example]:
    """Of each domain as many, by the difference between the rows, then by their ids."""
    rows = compared_rows(bench, table)
    frames = [queries(row, first_finished(bench, row), bench.recipe.show.indexes[0]) for row in rows]
    if not frames:
        return []
    joined = frames[0].join(frames[-1], on=KEY, how="inner", suffix=" b").filter(pl.col("n") > 0)
    gap = (pl.col(METRIC) - pl.col(f"{METRIC} b")).abs()
    wrong = 1 - pl.col(METRIC)  # where there is one row only
    ranked = joined.sort([gap, wrong, *map(pl.col, KEY)], descending=[True, True, *[False] * len(KEY)])
    each = max(1, MOST // joined["domain"].n_unique()) if len(joined) else 0
    found = []
    for (domain,), of_domain in sorted(ranked.group_by("domain", maintain_order=True)):
        for query in of_domain.head(each).iter_rows(named=True):
            suffixes = ["", " b"][: len(rows)]
            sides = [_found(row.name, query, suffix) for row, suffix in zip(rows, suffixes, strict=True)]
            found.append(Example(str(domain), (query["source"], query["image"]), sides))
    return found


def _found(row: str, query: dict, suffix: str) -> Found:
    shown = min(query["n"], SHOWN)
    parts = (query[f"{name}{suffix}"][:shown] for name in ("neighbour_sources", "neighbours", "hits"))
    return Found(row, list(zip(*parts, strict=True)))


def draw(bench: Bench, table: Table) -> Figure | None:
    """None where there is nothing to draw."""
    shown = examples(bench, table)
    if not shown or bench.manifest is None:
        return None
    pictures = Pictures(bench.manifest, PX)
    strips = []
    for example in shown:
        query: Tile | None = Tile(pictures.get(*example.query))
        name = f"{example.domain}\n"
        for found in example.found:
            tiles = [Tile(pictures.get(source, image), bool(hit)) for source, image, hit in found.neighbours]
            strips.append(Strip(name + found.row, [query, *tiles]))
            name, query = "", None
    return mosaic(strips)
