"""Retrieval metrics as the papers define them, one value for each query; averaging is the caller's.

A result is relevant when it has a label of the query and lies in the query's domain. n is the number of index images
that are relevant to a query, the query's own image not counted. A query with n = 0 has no value (NaN).

    values = mmp_at_k(hits, n, k=5)       # (Q,) in [0, 1]
"""

import numpy as np
import polars as pl

from probe.data.labels import LISTS, plainest

METRICS = ("mMP@5", "R@1")


def relevant_counts(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    """(Q,) int64: n of each query; frames with columns image, source, label and domain.

    A query of several labels looks for the images of any; an image under two of them counts once.
    """
    index = index.with_columns(plainest(index["label"]))
    if queries.schema["label"] != LISTS:
        return _counts_of_one_label(queries, index)
    several = (queries["label"].list.len() > 1).to_numpy()
    of_one = queries.filter(~several).with_columns(pl.col("label").list.first())
    counts = np.empty(len(queries), np.int64)
    counts[~several] = _counts_of_one_label(of_one, index)
    counts[several] = _counts_of_any_label(queries.filter(several), index)
    return counts


def _counts_of_one_label(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    per_class = index.group_by("domain", "label").agg(pl.len().alias("n"))
    own = index.group_by("domain", "label", "source", "image").agg(pl.len().alias("own"))
    counted = queries.join(per_class, on=["domain", "label"], how="left", maintain_order="left").join(
        own, on=["domain", "label", "source", "image"], how="left", maintain_order="left"
    )
    return (counted["n"].fill_null(0) - counted["own"].fill_null(0)).cast(pl.Int64).to_numpy()


def _counts_of_any_label(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    labels = queries.with_row_index("query").explode("label")
    found = labels.join(index.select("domain", "label", found=pl.struct("source", "image")), on=["domain", "label"])
    others = found.filter(pl.col("found") != pl.struct("source", "image"))
    counted = others.group_by("query").agg(pl.col("found").n_unique())
    counts = np.zeros(len(queries), np.int64)
    counts[counted["query"].to_numpy()] = counted["found"].to_numpy()
    return counts


def relevant_hits(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
    """(Q, k) bool: which of the neighbours (index rows, -1 for none) are relevant."""
    of_query, of_index = _classes(queries, index)
    found = of_index[rows]
    hits = (found == of_query[:, :1]) & (rows >= 0)
    for further in of_query.T[1:]:
        some = further > 0
        hits[some] |= (found[some] == further[some, None]) & (rows[some] >= 0)
    return hits


def _classes(queries: pl.DataFrame, index: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 1 on of the classes of each query (Q, most labels), 0 past its last, and of each index row (N,)."""
    labels = queries.select("domain", "label")
    counts = np.ones(len(queries), np.int64)
    if labels.schema["label"] == LISTS:
        counts = labels["label"].list.len().to_numpy().astype(np.int64)
        labels = labels.explode("label")
    of_both = pl.concat([labels, index.select("domain", plainest(index["label"]))])
    classes = of_both.select(pl.struct("domain", "label").rank("dense")).to_series().to_numpy()
    position = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    of_query = np.zeros((len(queries), counts.max(initial=1)), classes.dtype)
    of_query[np.repeat(np.arange(len(queries)), counts), position] = classes[: len(labels)]
    return of_query, classes[len(labels) :]


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
