"""The exact search: each segment by `probe.search`, and the best of all of them, equal similarities ordered by id.

A segment's rows are ordered by id, and similarities are the same bits in any batch. So the answer is that of one
matrix of all rows in the order of their ids, whatever segments there are: that of an index built anew.

    found = search_segment(queries, segment, None, 10, NO_PAIRS, "cosine")
    best([found], 10)
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from probe.index.segment import Segment
from probe.search import Distance, Vectors, search

NO_PAIRS = np.zeros((0, 2), np.int64)
SCHEMA = {"query": pl.Int64, "id": pl.String, "similarity": pl.Float64, "row": pl.Int64}


def best(of_segments: Sequence[pl.DataFrame], k: int) -> pl.DataFrame:
    """Of each query the k best of its candidates, best first, with the number of their `segment`."""
    numbered = [found.with_columns(segment=pl.lit(number)) for number, found in enumerate(of_segments)]
    together = pl.concat([pl.DataFrame(schema={**SCHEMA, "segment": pl.Int32}), *numbered])
    return _best(together, k)


def search_segment(
    queries: np.ndarray, segment: Segment, rows: np.ndarray | None, k: int, excluded: np.ndarray, distance: Distance
) -> pl.DataFrame:
    """The candidates of each query (Q, d): its k best among these rows (n,), ascending, or fewer; None: all that are
    there.

    excluded: (P, 2) int64 pairs of a query and a row that is not for it. Raises ProbeError for a query that has no
    direction.
    """
    if rows is None and segment.record.removed:
        rows = segment.rows
    if rows is not None:
        if not len(rows):
            return pl.DataFrame(schema=SCHEMA)
        at = np.searchsorted(rows, excluded[:, 1])
        there = rows[np.minimum(at, len(rows) - 1)] == excluded[:, 1]
        excluded = np.stack([excluded[there, 0], at[there]], axis=1)
    vectors = Vectors(segment.vectors, rows, unit=distance == "cosine" and segment.is_unit)
    found = search(Vectors(queries), vectors, min(k, len(vectors)), excluded, distance)
    query, place = np.nonzero(found.rows >= 0)
    row = found.rows[query, place]
    return candidates(segment, query, row if rows is None else rows[row], found.similarities[query, place], k)


def candidates(segment: Segment, query: np.ndarray, row: np.ndarray, similarity: np.ndarray, k: int) -> pl.DataFrame:
    """The k best of each query among pairs (P,) of a query and a row of a segment."""
    ids = segment.frame["id"].gather(row)
    similarity = similarity + 0.0  # no minus zero, which might sort apart
    frame = pl.DataFrame({"query": query, "id": ids, "similarity": similarity, "row": row}, schema=SCHEMA)
    return _best(frame, k)


def _best(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    ordered = frame.sort("query", "similarity", "id", descending=[False, True, False])
    return ordered.filter(pl.int_range(pl.len()).over("query") < k)
