"""The published UnED evaluator's numbers, with its quirks, from the neighbours that the clean protocol found.

It searches index rows, knows no image ids, and where a domain's query split is its index split it takes rank 1 for the
query itself and drops it, whatever it is; docs/evaluation.md lists what follows. Its code: `compute_knn_metrics` in
universal_embedding/knn_utils.py of github.com/nikosips/Universal-Image-Embeddings.

    rows = ranked_rows(found, own, own_similarities, rows_of_images, k + 1)
    values = official_values(parse_metric("mMP@5"), hits, n, drops_first(queries))
"""

import numpy as np
import polars as pl

from probe.data import as_lists, plainest
from probe.metrics.metric import Metric
from probe.search import Neighbours

BLOCK = 8192  # queries at a time


def drops_first(queries: pl.DataFrame) -> np.ndarray:
    """(Q,) bool: whether rank 1 is dropped: all queries of the query's domain are index images too (role `both`)."""
    return queries.select((pl.col("role") == "both").all().over("domain")).to_series().to_numpy()


def official_counts(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    """(Q,) int64: index rows of the query's domain with its label, itself among them; summed over several labels."""
    per_class = index.group_by("domain", plainest(index["label"])).agg(pl.len().alias("n"))
    labels = queries.select("domain", as_lists(queries["label"])).with_row_index("query").explode("label")
    counted = labels.join(per_class, on=["domain", "label"]).group_by("query").agg(pl.col("n").sum())
    counts = np.zeros(len(queries), np.int64)
    counts[counted["query"].to_numpy()] = counted["n"].to_numpy()
    return counts


def ranked_rows(
    found: Neighbours, own: np.ndarray, own_similarities: np.ndarray, rows: np.ndarray, count: int
) -> np.ndarray:
    """(Q, count) int64: the most similar index rows, the query's own among them, ties by row; -1 past the last.

    found: `count` images of each query or all, its own left out. own (Q,): its own image, -1 where the index has it
    not, and own_similarities (Q,). rows (I, most): the index rows of each image, -1 past its last.
    """
    ranked = np.full((len(own), count), -1, np.int64)
    if not len(rows):
        return ranked
    for start in range(0, len(own), BLOCK):
        here = slice(start, start + BLOCK)
        images = np.column_stack([found.rows[here], own[here]])
        similarities = np.column_stack([found.similarities[here], own_similarities[here]])
        candidates = np.where(images[..., None] >= 0, rows[images], -1)  # (B, images, most)
        similarities = np.broadcast_to(similarities[..., None], candidates.shape)
        similarities = np.where(candidates >= 0, similarities, -np.inf).reshape(len(images), -1)
        candidates = candidates.reshape(len(images), -1)
        order = np.lexsort((candidates, -similarities), axis=-1)[:, :count]
        best = np.take_along_axis(candidates, order, axis=1)
        ranked[here, : best.shape[1]] = best
    return ranked


def official_values(metric: Metric, hits: np.ndarray, n: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """(Q,) float64: a query's value, NaN where there is nothing to find (the published code divides by zero).

    hits (Q, any) bool: past the last, nothing is found; n (Q,): `official_counts`; dropped (Q,) bool: `drops_first`.
    May be below 0 or above 1.
    """
    values = np.full(len(n), np.nan)
    for drop in (0, 1):
        (chosen,) = ((dropped == drop) & (n > drop)).nonzero()
        values[chosen] = metric.official(hits[chosen], n[chosen], drop)
    return values
