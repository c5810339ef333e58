"""Scoring embeddings on a benchmark with the merged index: per-query values, domain means and their balanced mean.

Results are images: one that several index rows list, a row for each of its labels, takes one rank.

evaluation = evaluate(frame, embeddings)
evaluation.summary["mean"]["mMP@5"]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from probe.errors import UsageError
from probe.retrieval.metrics import METRICS, mmp_at_k, recall_at_1, relevant_counts, relevant_hits
from probe.retrieval.search import Neighbours, same_image_pairs, search

DEPTH = 5


@dataclass(frozen=True)
class Evaluation:
    """`per_query`: a row a query with n, its neighbours, hits and values. `summary`: `domains` and their `mean`."""

    per_query: pl.DataFrame
    summary: dict[str, Any]


def evaluate(frame: pl.DataFrame, embeddings: torch.Tensor) -> Evaluation:
    """Scores the queries of `frame` (manifest rows of one split) against all its index rows, whatever their domain.

    embeddings (N, d) float32, row by row. Queries with nothing to find are counted and left out of the means.
    Raises UsageError when there are no queries, no index, or no query that has anything to find.
    """
    is_query = frame["role"].is_in(["query", "both"]).to_numpy()
    is_index = frame["role"].is_in(["index", "both"]).to_numpy()
    if not is_query.any() or not is_index.any():
        raise UsageError(
            f"nothing to score: the split has {is_query.sum():,} queries and {is_index.sum():,} index images."
        )
    queries, index = frame.filter(is_query), frame.filter(is_index)
    query_keys, index_keys = _keys(queries), _keys(index)
    rows = _rows_of_images(index_keys)
    first = rows[:, 0]
    found = search(
        embeddings[torch.from_numpy(is_query)],
        embeddings[torch.from_numpy(is_index.nonzero()[0][first])],
        DEPTH,
        same_image_pairs(query_keys.to_list(), index_keys.gather(first).to_list()),
    )
    per_query = _per_query(queries, index, rows, found)
    if per_query["n"].max() == 0:
        raise UsageError(
            f"nothing to score: none of the {len(queries):,} queries has another image of its class to find."
        )
    return Evaluation(per_query, _summary(per_query))


def domains_with_something_to_find(frame: pl.DataFrame) -> list[str]:
    """Domains of one split in which at least one query has another image of its class in the index, sorted."""
    queries, index = (frame.filter(pl.col("role").is_in([role, "both"])) for role in ("query", "index"))
    findable = queries.filter(pl.Series(relevant_counts(queries, index) > 0, dtype=pl.Boolean))
    return sorted(findable["domain"].unique())


def _keys(frame: pl.DataFrame) -> pl.Series:
    return frame.select(key=pl.concat_str("source", "image", separator="\0")).to_series()


def _rows_of_images(keys: pl.Series) -> np.ndarray:
    """(I, most) int64: the index rows of each distinct image, images by their first row; -1 past an image's last."""
    if keys.hash().n_unique() == len(keys):
        return np.arange(len(keys))[:, None]
    rows = keys.to_frame().with_row_index("row").group_by("key", maintain_order=True).agg("row")["row"].list
    most = int(rows.len().to_numpy().max())
    columns = [rows.get(column, null_on_oob=True).cast(pl.Int64).fill_null(-1) for column in range(most)]
    return np.stack([column.to_numpy() for column in columns], axis=1)


def _hits(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(Q, k) bool: which of the images found are relevant by any of their rows."""
    candidates = np.where(found[..., None] >= 0, rows[found], -1)
    hits = relevant_hits(queries, index, candidates.reshape(len(found), -1))
    return np.logical_or.reduce(hits.reshape(candidates.shape), axis=-1)


def _per_query(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray, found: Neighbours) -> pl.DataFrame:
    """`rows`: those of each image of the index; `found`: images."""
    n = relevant_counts(queries, index)
    hits = _hits(queries, index, rows, found.rows)
    images = index["image"].gather(rows[:, 0]).to_numpy()
    neighbours = [[images[image] for image in best if image >= 0] for best in found.rows]
    similarities = [list(values[best >= 0]) for best, values in zip(found.rows, found.similarities, strict=True)]
    flags = [list(flag[best >= 0]) for best, flag in zip(found.rows, hits, strict=True)]
    return queries.select("image", "source", "domain", "label").with_columns(
        pl.Series("n", n),
        pl.Series("neighbours", neighbours, pl.List(pl.String)),
        pl.Series("similarities", similarities, pl.List(pl.Float64)),
        pl.Series("hits", flags, pl.List(pl.Boolean)),
        pl.Series("mMP@5", mmp_at_k(hits, n, DEPTH)),
        pl.Series("R@1", recall_at_1(hits, n)),
    )


def _summary(per_query: pl.DataFrame) -> dict[str, Any]:
    domains = {}
    for (domain,), rows in sorted(per_query.group_by("domain", maintain_order=True)):
        scored = rows.filter(pl.col("n") > 0)
        values = {metric: _mean(scored[metric].to_numpy()) for metric in METRICS}
        domains[domain] = values | {"queries": len(scored), "nothing_to_find": len(rows) - len(scored)}
    means = {
        metric: _mean(np.array([d[metric] for d in domains.values() if d[metric] is not None])) for metric in METRICS
    }
    return {"mean": means, "domains": domains}


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
