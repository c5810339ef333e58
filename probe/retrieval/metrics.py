"""Retrieval metrics as the papers define them, one value for each query; averaging is the caller's.

A result is relevant when it has the query's label and lies in the query's domain. n is the number of index images that
are relevant to a query, the query's own image not counted. A query with n = 0 has no value (NaN).

    values = mmp_at_k(hits, n, k=5)       # (Q,) in [0, 1]
"""

import numpy as np
import polars as pl

METRICS = ("mMP@5", "R@1")


def relevant_counts(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    """(Q,) int64: n of each query; frames with columns image, source, label and domain."""
    per_class = index.group_by("domain", "label").agg(pl.len().alias("n"))
    own = index.group_by("domain", "label", "source", "image").agg(pl.len().alias("own"))
    counted = queries.join(per_class, on=["domain", "label"], how="left", maintain_order="left").join(
        own, on=["domain", "label", "source", "image"], how="left", maintain_order="left"
    )
    return (counted["n"].fill_null(0) - counted["own"].fill_null(0)).cast(pl.Int64).to_numpy()


def relevant_hits(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
    """(Q, k) bool: which of the neighbours (index rows, -1 for none) are relevant."""
    classes = pl.concat([queries, index]).select(pl.struct("domain", "label").rank("dense")).to_series().to_numpy()
    of_query, of_index = classes[: len(queries)], classes[len(queries) :]
    return (of_index[rows] == of_query[:, None]) & (rows >= 0)


def recall_at_1(hits: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(Q,) 1 where the first result is relevant (UnED eq. 1)."""
    return np.where(n > 0, hits[:, 0].astype(np.float64), np.nan)


def mmp_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """(Q,) modified precision: relevant among the first min(n, k) results, over min(n, k) (UnED eq. 2).

    The list is cut at min(n, k): two relevant images at ranks 4 and 5 count nothing when n = 2.
    """
    depth = np.minimum(n, k)
    counted = hits[:, :k] & (np.arange(min(k, hits.shape[1])) < depth[:, None])
    return np.divide(counted.sum(axis=1), depth, out=np.full(len(n), np.nan), where=depth > 0)
