"""Single queries: what a row of the table retrieved for each and how well, from the per-query values of its runs.

seed = first_finished_seed(inventory, row)
frame = queries(row, seed, "merged")
frame["image", "label", "neighbours", "hits", "mMP@5"]
"""

from collections.abc import Sequence

import polars as pl

from probe.data import LISTS
from probe.errors import UsageError
from probe.metrics.scores import PER_QUERY
from probe.planning import Inventory
from probe.recipes import Row
from probe.runs.directory import Run

KEY = ["source", "image", "domain", "label"]  # identifies a query of a split
RETRIEVED = ["n", "neighbours", "neighbour_sources", "similarities", "hits"]
BETWEEN = " · "  # of several labels


def first_finished_seed(inventory: Inventory, row: Row) -> list[Run]:
    """The runs of the row's first seed that is finished: one, or of specialists one a domain. Empty where none is."""
    return next(iter(inventory.finished(row)), [])


def queries(row: Row, seed: Sequence[Run], index: str) -> pl.DataFrame:
    """Columns KEY, RETRIEVED, and one a metric; several labels are joined into one text. Each specialist answers the
    queries of its own domain. Raises UsageError when a file is absent or not of this form."""
    frames = [_read(run, index) for run in seed]
    if row.specialists:
        frames = [frame.filter(pl.col("domain") == run.config.domain) for frame, run in zip(frames, seed, strict=True)]
    return pl.concat(frames)


def _read(run: Run, index: str) -> pl.DataFrame:
    path = run.path / PER_QUERY[index]
    try:
        frame = pl.read_parquet(path)
        frame.select(KEY + RETRIEVED)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}); delete {run.path} and fit again.") from error
    return frame.with_columns(as_text(frame["label"]))


def as_text(labels: pl.Series) -> pl.Series:
    """Labels, or lists of them, as text."""
    return labels.list.join(BETWEEN) if labels.dtype == LISTS else labels
