"""Single queries: what a row of the table retrieved for each and how well, from the per-query values of its runs; and
what the images are.

seed = first_finished_seed(inventory, row)
frame = queries(row, seed, "merged")
frame["image", "label", "neighbours", "hits", "mMP@5"]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from probe.data import LISTS, Manifest
from probe.planning import Inventory
from probe.recipes import Row
from probe.report.thumbnails import Key
from probe.runs import Run

KEY = ["source", "image", "domain", "label"]  # identifies a query of a split
BETWEEN = " · "  # of several labels


def first_finished_seed(inventory: Inventory, row: Row) -> list[Run]:
    """The runs of the row's first seed that is finished: one, or of specialists one a domain. Empty where none is."""
    return next(iter(inventory.finished(row)), [])


def queries(row: Row, seed: Sequence[Run], index: str) -> pl.DataFrame:
    """The per-query values of a seed, with several labels joined into one text. Each specialist answers the queries of
    its own domain. Raises UsageError where they are missing or damaged."""
    frames = [run.directory.per_query(index) for run in seed]
    if row.specialists:
        frames = [frame.filter(pl.col("domain") == run.config.domain) for frame, run in zip(frames, seed, strict=True)]
    return pl.concat(frame.with_columns(as_text(frame["label"])) for frame in frames)


@dataclass(frozen=True)
class Description:
    """What a manifest's split says of an image."""

    labels: list[str]
    domains: list[str]


def descriptions(manifest: Manifest, images: Iterable[Key]) -> dict[Key, Description]:
    """Of each image, in order; without labels and domains where it is not in the manifest's test split."""
    keys = list(images)
    wanted = pl.DataFrame(keys, ["source", "image"], orient="row")
    split = manifest.split("test").join(wanted, on=["source", "image"], how="semi", maintain_order="left")
    found = (
        split.with_columns(as_text(split["label"]))
        .group_by("source", "image")
        .agg(pl.col(name).unique(maintain_order=True) for name in ("label", "domain"))
    )
    known = {(source, image): Description(*lists) for source, image, *lists in found.iter_rows()}
    return {key: known.get(key, Description([], [])) for key in keys}


def as_text(labels: pl.Series) -> pl.Series:
    """Labels, or lists of them, as text."""
    return labels.list.join(BETWEEN) if labels.dtype == LISTS else labels
