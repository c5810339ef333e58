"""Domain collage (UnED, Fig. S1): a strip of test images for each domain, of as many classes as possible.

draw(inventory, table)        # a Figure, or None without the manifest or its images
"""

import hashlib

import polars as pl
from matplotlib.figure import Figure

from probe.planning import Inventory
from probe.report.figures.figure import FigureKind
from probe.report.figures.mosaic import PX, Strip, Tile, mosaic
from probe.report.table import Table
from probe.report.thumbnails import Thumbnails

ACROSS = 8
CAPTION = "Test images of each domain, drawn by the hash of their ids, one a class as long as there are classes."


def choose_images(frame: pl.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Source and id of each domain's images, by domain."""
    chosen = {}
    for (domain,), rows in sorted(frame.group_by("domain")):
        keys = sorted(
            {(str(label), source, image) for source, image, label in rows["source", "image", "label"].iter_rows()},
            key=lambda key: hashlib.sha256("\0".join(key).encode()).digest(),
        )
        first_of_class = {label: key for label, *key in reversed(keys)}
        firsts = [key for key in keys if first_of_class[key[0]] == list(key[1:])]
        ordered = dict.fromkeys(key[1:] for key in [*firsts, *keys])
        chosen[domain] = list(ordered)[:ACROSS]
    return chosen


def draw(inventory: Inventory, _table: Table) -> Figure | None:
    """None without the manifest or its images."""
    if inventory.manifest is None:
        return None
    thumbnails = Thumbnails(inventory.manifest, PX)
    rows = {
        domain: [thumbnails.get(*key) for key in keys]
        for domain, keys in choose_images(inventory.manifest.split("test")).items()
    }
    if not any(picture for row in rows.values() for picture in row):
        return None
    return mosaic([Strip(domain, [Tile(picture, framed=False) for picture in row]) for domain, row in rows.items()])


FIGURE = FigureKind("collage", "Domains in pictures", CAPTION, draw, position=6, photographs=True)
