"""Domain collage (UnED, Fig. S1): a row of test images for each domain, of as many classes as there are.

draw(bench, table)        # a Figure, or None without the manifest or its images
"""

import hashlib

import polars as pl
from matplotlib.figure import Figure

from probe.planning.inventory import Bench
from probe.report.figures.mosaic import PX, Strip, Tile, mosaic
from probe.report.table import Table
from probe.report.thumbnails import Pictures

ACROSS = 8
CAPTION = "Test images of each domain, drawn by the hash of their ids, one a class as long as there are classes."


def chosen(frame: pl.DataFrame) -> dict[str, list[tuple[str, str]]]:
    """Domain -> source and id of its images."""
    found = {}
    for (domain,), rows in sorted(frame.group_by("domain")):
        keys = sorted(
            {(str(label), source, image) for source, image, label in rows["source", "image", "label"].iter_rows()},
            key=lambda key: hashlib.sha256("\0".join(key).encode()).digest(),
        )
        first_of_class = {label: key for label, *key in reversed(keys)}
        firsts = [key for key in keys if first_of_class[key[0]] == list(key[1:])]
        ordered = dict.fromkeys(key[1:] for key in [*firsts, *keys])
        found[domain] = list(ordered)[:ACROSS]
    return found


def draw(bench: Bench, _table: Table) -> Figure | None:
    """None where there is no picture to show."""
    if bench.manifest is None:
        return None
    pictures = Pictures(bench.manifest, PX)
    rows = {
        domain: [pictures.get(*key) for key in keys] for domain, keys in chosen(bench.manifest.split("test")).items()
    }
    if not any(picture for row in rows.values() for picture in row):
        return None
    return mosaic([Strip(domain, [Tile(picture, framed=False) for picture in row]) for domain, row in rows.items()])
