"""Which hits are none: a threshold of similarity by split conformal prediction (Vovk, Gammerman and Shafer 2005).

Of n calibration queries that the index has nothing of, the best similarities are known. The threshold is the
⌈(n + 1)(1 - rate)⌉-th smallest of them: a further query of their kind, exchangeable with them, surpasses it with a
probability of at most `rate`, whatever the similarities are distributed like.

    threshold(state, 0.05)
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from probe.data import resolve_data
from probe.embed import GivenImage
from probe.errors import UsageError
from probe.index.state import State

MOST = 1000  # calibration queries


def conformal_threshold(scores: Sequence[float], rate: float) -> float:
    """Of ascending scores (n,). Raises UsageError for a rate that they are too few for, or that is none."""
    if not 0 < rate < 1:
        raise UsageError(f"a false-match rate of {rate:g} cannot be promised; name one between 0 and 1, as 0.05.")
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if rank > len(scores):
        raise UsageError(
            f"{len(scores):,} calibration queries cannot promise a rate of {rate:g}; name one of "
            f"{1 / (len(scores) + 1):.2g} or more, or calibrate on more."
        )
    return scores[max(rank, 1) - 1]


def threshold(state: State, rate: float) -> float:
    """Of an index that is calibrated; raises UsageError for one that is not, or was when it had other rows."""
    record = state.manifest.no_match
    if record is None:
        raise UsageError(
            f"{state.folder} is not calibrated, so nothing is known of false matches; use `probe index calibrate`."
        )
    if record.rows != state.manifest.rows:
        raise UsageError(
            f"{state.folder} was calibrated with {record.rows:,} rows and has {state.manifest.rows:,}; calibrate it "
            "again, as the best of more rows is more similar."
        )
    return conformal_threshold(record.scores, rate)


def calibration_images(data: str, split: str, data_root: Path) -> list[tuple[GivenImage, str, str]]:
    """Queries of a data set, at most MOST, with label and domain. Raises UsageError where there are none."""
    manifest = resolve_data(data, data_root)
    rows = manifest.frame.filter((pl.col("split") == split) & pl.col("role").is_in(["query", "both"]))
    rows = rows.unique(["source", "image"], keep="first", maintain_order=True)
    if rows.is_empty():
        raise UsageError(f"{data} has no queries in its split '{split}'; name other data or another split.")
    if len(rows) > MOST:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))]
    if isinstance(rows.schema["label"], pl.List):
        rows = rows.with_columns(pl.col("label").list.first())
    found = []
    for row in rows.iter_rows(named=True):
        image = GivenImage(f"{row['source']}/{row['image']}", (manifest.roots[row["source"]], row["image"]))
        found.append((image, row["label"], row["domain"]))
    return found
