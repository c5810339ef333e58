"""Retrieval examples (UnED, Fig. 3): queries and their neighbours for two rows of a recipe, each image with its domain,
right ones framed green with a tick, wrong ones red with a cross. On the left are queries on which the first row is
better, on the right those on which the second is: of each domain those on which the two differ most, one a class.

Each query has as many neighbours as it has images to be found, at most five: the others do not count.

    draw(inventory, table)                  # a Figure, or None where no run is finished or no image is here
    write_comparison(inventory, ("CLIP+Oracle", "CLIP+USCSS"), Path("out/figures"))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from probe.data import Manifest
from probe.errors import UsageError, nearest
from probe.planning import Inventory
from probe.recipes import MEAN, Row
from probe.report.figures.figure import DrawnFigure, FigureKind, write_figure
from probe.report.figures.mosaic import PX, Strip, Tile, mosaic
from probe.report.queries import BETWEEN, KEY, descriptions, first_finished_seed, queries
from probe.report.table import Table
from probe.report.thumbnails import Key, Thumbnails
from probe.workspace import as_named, file_name

METRIC = "mMP@5"
NEIGHBOURS = 5
MOST_QUERIES = 8  # of a side, but at least one a domain
CAPTION = (
    "Queries and their nearest neighbours, each with its domain: ✓ and a green frame where class and domain are right, "
    "✗ and a red frame where they are not. A query has at most as many neighbours as it has images to find. The "
    "queries are those of each domain on which one row is better than the other by most."
)


@dataclass(frozen=True)
class Neighbour:
    image: Key
    right: bool


@dataclass(frozen=True)
class Example:
    """A query, and what the compared rows retrieved for it, best first."""

    domain: str
    query: Key
    retrieved: list[list[Neighbour]]
    """By row."""


@dataclass(frozen=True)
class Side:
    title: str
    examples: dict[str, list[Example]]
    """By domain."""


def compared_rows(inventory: Inventory, table: Table) -> list[Row]:
    """The first measured row that is not the best, and the best; fewer where fewer are measured."""
    scored = {row.name: cell.mean for row in table.rows if (cell := row.cell(MEAN, METRIC))}
    if not scored:
        return []
    best = max(scored, key=lambda name: scored[name])
    names = [*[name for name in scored if name != best][:1], best]
    rows = {row.name: row for row in inventory.recipe.rows}
    return [rows[name] for name in names]


def chosen_rows(inventory: Inventory, names: Sequence[str]) -> list[Row]:
    """Raises UsageError for two of one name, for a row that is not there, and for one without a finished seed."""
    rows = {row.name: row for row in inventory.recipe.rows}
    if len(set(names)) < len(names):
        raise UsageError(f"--rows: '{names[0]}' is compared with itself; name two rows.")
    for name in names:
        if name not in rows:
            raise UsageError(f"--rows: {inventory.recipe.path} has no row '{name}'; {nearest(name, rows)}")
        if not rows[name].runs:
            raise UsageError(f"--rows: '{name}' is printed only: nothing was retrieved; name a row with runs.")
        if not first_finished_seed(inventory, rows[name]):
            what_to_run = f"`probe table {as_named(inventory.recipe.path)}` prints what to run."
            raise UsageError(f"--rows: no seed of '{name}' is finished; {what_to_run}")
    return [rows[name] for name in names]


def sides(inventory: Inventory, rows: Sequence[Row]) -> list[Side]:
    """The queries on which the first row is better, and those on which the second is; where neither ever is, or there
    is one row only, those with the lowest values. By domain, equally many of each, sorted by the difference, then by
    their ids."""
    index = inventory.recipe.display.indexes[0]
    frames = [queries(row, first_finished_seed(inventory, row), index) for row in rows]
    joined = frames[0].join(frames[-1], on=KEY, how="inner", suffix=" b").filter(pl.col("n") > 0)
    each = max(1, MOST_QUERIES // max(1, joined["domain"].n_unique()))
    gap = pl.col(METRIC) - pl.col(f"{METRIC} b")
    found = [
        Side(f"{row.name} is better", _examples(joined.filter(better > 0), better, each, len(rows)))
        for row, better in zip(rows, (gap, -gap), strict=False)
    ]
    lowest = Side("", _examples(joined, -pl.col(METRIC), each, len(rows)))
    return [side for side in found if side.examples] or [lowest]


def _examples(joined: pl.DataFrame, order: pl.Expr, each: int, rows: int) -> dict[str, list[Example]]:
    """Of each domain those `each` with the highest `order`, one a class."""
    ranked = joined.sort([order, *map(pl.col, KEY)], descending=[True, *[False] * len(KEY)])
    ranked = ranked.unique(["domain", "label"], keep="first", maintain_order=True)
    return {
        str(domain): [_example(query, rows) for query in of_domain.head(each).iter_rows(named=True)]
        for (domain,), of_domain in sorted(ranked.group_by("domain", maintain_order=True))
    }


def _example(query: dict[str, Any], rows: int) -> Example:
    count = min(query["n"], NEIGHBOURS)
    retrieved = []
    for suffix in ("", " b")[:rows]:
        parts = (query[f"{name}{suffix}"][:count] for name in ("neighbour_sources", "neighbours", "hits"))
        found = zip(*parts, strict=True)
        retrieved.append([Neighbour((source, image), bool(hit)) for source, image, hit in found])
    return Example(query["domain"], (query["source"], query["image"]), retrieved)


def draw(inventory: Inventory, table: Table) -> Figure | None:
    """None where no run is finished, or the manifest is not here."""
    rows = compared_rows(inventory, table)
    return drawn(inventory, inventory.manifest, rows) if rows and inventory.manifest else None


def drawn(inventory: Inventory, manifest: Manifest, rows: Sequence[Row]) -> Figure | None:
    """A strip for each row's answer to a query; the sides stand beside each other. None where no query has anything to
    find."""
    both = sides(inventory, rows)
    shown = [example for side in both for of_domain in side.examples.values() for example in of_domain]
    tiles = _Tiles(inventory.recipe.columns, manifest, shown)
    strips = []
    for domain in sorted({domain for side in both for domain in side.examples}):
        for examples in zip_longest(*(side.examples.get(domain, []) for side in both)):
            for number, row in enumerate(rows):
                name = f"{tiles.column(domain)}\n{row.name}" if number == 0 else row.name
                found = [tile for example in examples for tile in (*tiles.of(example, number), None)]
                strips.append(Strip(name, found[:-1], apart=number == 0))
    titles = {number * (NEIGHBOURS + 2): side.title for number, side in enumerate(both)}
    return mosaic(strips, titles) if strips else None


class _Tiles:
    """The pictures of examples."""

    def __init__(self, columns: dict[str, str], manifest: Manifest, examples: Sequence[Example]) -> None:
        images = [
            image
            for example in examples
            for image in (example.query, *(found.image for row in example.retrieved for found in row))
        ]
        self._columns, self._thumbnails = columns, Thumbnails(manifest, PX)
        self._descriptions = descriptions(manifest, dict.fromkeys(images))

    def column(self, domain: str) -> str:
        """What the table calls a domain."""
        return self._columns.get(domain, domain)

    def of(self, example: Example | None, row: int) -> list[Tile | None]:
        """Of a fixed length; the query stands before the first row's answer alone."""
        empty: list[Tile | None] = [None] * (NEIGHBOURS + 1)
        if example is None:
            return empty
        query = self._tile(example.query, None) if row == 0 else None
        found = [self._tile(neighbour.image, neighbour.right) for neighbour in example.retrieved[row]]
        return [query, *found, *empty][: NEIGHBOURS + 1]

    def _tile(self, image: Key, right: bool | None) -> Tile:
        domains = BETWEEN.join(map(self.column, self._descriptions[image].domains))
        return Tile(self._thumbnails.get(*image), right, label=domains)


FIGURE = FigureKind("examples", "Retrieval examples", CAPTION, draw, position=5, photographs=True)


def write_comparison(inventory: Inventory, names: tuple[str, str], folder: Path) -> list[Path]:
    """The figure of two chosen rows, as SVG and PNG, named after recipe and rows. Raises UsageError where one of them
    has nothing to show."""
    rows = chosen_rows(inventory, names)
    figure = drawn(inventory, inventory.manifest, rows) if inventory.manifest else None
    if figure is None:
        raise UsageError(f"--rows: no query of {inventory.recipe.data}'s test split has anything to find.")
    name = "_".join([inventory.recipe.name, FIGURE.name, *map(file_name, names)])
    return write_figure(DrawnFigure(FIGURE, name, figure), folder)
