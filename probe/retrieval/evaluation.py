"""Scoring embeddings on a benchmark with the merged index: per-query values, domain means and their balanced mean.

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
    found = search(
        embeddings[torch.from_numpy(is_query)],
        embeddings[torch.from_numpy(is_index)],
        DEPTH,
        same_image_pairs(_keys(queries), _keys(index)),
    )
    per_query = _per_query(queries, index, found)
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


def _keys(frame: pl.DataFrame) -> list[str]:
    return frame.select(pl.concat_str("source", "image", separator="\0")).to_series().to_list()


def _per_query(queries: pl.DataFrame, index: pl.DataFrame, found: Neighbours) -> pl.DataFrame:
    n = relevant_counts(queries, index)
    hits = relevant_hits(queries, index, found.rows)
    images = index["image"].to_numpy()
    neighbours = [[images[row] for row in rows if row >= 0] for rows in found.rows]
    similarities = [list(values[rows >= 0]) for rows, values in zip(found.rows, found.similarities, strict=True)]
    flags = [list(flag[rows >= 0]) for rows, flag in zip(found.rows, hits, strict=True)]
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
