"""The exact search: each segment by `probe.search`, and the best of all of them, equal similarities ordered by id.

A segment's rows are ordered by id, and similarities are the same bits in any batch. So the answer is that of one
matrix of all rows in the order of their ids, whatever segments there are: that of an index built anew.

    find(queries, segments, rows, k=10, excluded, "cosine")
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from probe.index.segment import Segment
from probe.search import Distance, Vectors, search


def find(
    queries: np.ndarray,
    segments: Sequence[Segment],
    rows: Sequence[np.ndarray],
    k: int,
    excluded: Sequence[np.ndarray],
    distance: Distance,
) -> pl.DataFrame:
    """Of each query its k best, or fewer: `query`, `id`, `similarity`, `segment`, `row`; best first.

    queries (Q, d). Of each segment: `rows` (n,) int64, ascending, those that are searched; `excluded` (P, 2) int64
    pairs of a query and a row that is not for it. Raises ProbeError for a query that has no direction.
    """
    found = [
        _of_segment(queries, number, segment, kept, k, pairs, distance)
        for number, (segment, kept, pairs) in enumerate(zip(segments, rows, excluded, strict=True))
        if len(kept)
    ]
    return best(pl.concat(found) if found else _nothing(), k)


def best(candidates: pl.DataFrame, k: int) -> pl.DataFrame:
    """Of each query the k best of its candidates."""
    ordered = candidates.sort("query", "similarity", "id", descending=[False, True, False])
    return ordered.filter(pl.int_range(pl.len()).over("query") < k)


def _of_segment(
    queries: np.ndarray,
    number: int,
    segment: Segment,
    rows: np.ndarray,
    k: int,
    pairs: np.ndarray,
    distance: Distance,
) -> pl.DataFrame:
    whole = len(rows) == len(segment)
    at = np.searchsorted(rows, pairs[:, 1])
    there = rows[np.minimum(at, len(rows) - 1)] == pairs[:, 1]
    left_out = np.stack([pairs[there, 0], at[there]], axis=1)
    vectors = Vectors(segment.vectors, None if whole else rows)
    found = search(Vectors(queries), vectors, min(k, len(rows)), left_out, distance)
    query, place = np.nonzero(found.rows >= 0)
    chosen = rows[found.rows[query, place]]
    return pl.DataFrame(
        {
            "query": query,
            "id": segment.frame["id"].gather(chosen),
            "similarity": found.similarities[query, place] + 0.0,  # no minus zero, which sorts apart
            "segment": np.full(len(query), number),
            "row": chosen,
        },
        schema=_nothing().schema,
    )


def _nothing() -> pl.DataFrame:
    kinds = {"query": pl.Int64, "id": pl.String, "similarity": pl.Float64, "segment": pl.Int64, "row": pl.Int64}
    return pl.DataFrame(schema=kinds)
