"""Single queries: what a row of the table retrieved for each and how well, from the per-query values of its runs.

seed = first_finished_seed(inventory, row)
frame = queries(row, seed, "merged")
frame["image", "label", "neighbours", "hits", "mMP@5"]
"""

from collections.abc import Sequence

import polars as pl

from probe.data import LISTS
from probe.planning import Inventory
from probe.recipes import Row
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


def as_text(labels: pl.Series) -> pl.Series:
    """Labels, or lists of them, as text."""
    return labels.list.join(BETWEEN) if labels.dtype == LISTS else labels
