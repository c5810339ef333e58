"""A search of one state of an index: exactly, or by its approximate structures, and what is known of each hit.

search_state(state, vectors, k=10, where="label = 'shoe'", exclude=(), exact=False)     # a frame of hits
"""

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl

from probe.index.approximate import find_in
from probe.index.flat import NO_PAIRS, best, search_segment
from probe.index.hits import FIRST
from probe.index.query import Query
from probe.index.selection import rows_where
from probe.index.state import State


def is_exact(state: State, where: str | None, exact: bool) -> bool:
    """Whether a search can miss no neighbour."""
    return exact or where is not None or not state.is_approximate


def search_state(
    state: State, queries: np.ndarray, k: int, where: str | None, exclude: Sequence[Collection[str]], exact: bool
) -> pl.DataFrame:
    """The k best rows of each query (Q, d), best first, as `Hits.frame` has them.

    exclude: of each query, ids that are not for it; empty for none. Raises UsageError for a condition that cannot be
    read.
    """
    pairs, distance = _pairs(state, exclude), state.manifest.distance
    exactly = is_exact(state, where, exact)
    found = [
        find_in(queries, segment, k, excluded, distance)
        if segment.approximate and not exactly
        else search_segment(queries, segment, rows, k, excluded, distance)
        for segment, rows, excluded in zip(state.segments, rows_where(state, where), pairs, strict=True)
    ]
    return _with_columns(state, best(found, k))


def with_same_files(
    state: State, queries: Sequence[Query], exclude: Sequence[Collection[str]] | None
) -> list[Collection[str]]:
    """Of each query, the ids of the files that hold the same bytes as one of its, and what is excluded anyway."""
    found: list[Collection[str]] = []
    for number, query in enumerate(queries):
        digests = [image.digest for image in query.files if isinstance(image.content, tuple)]
        found.append([*state.ids_of_files(digests), *(exclude[number] if exclude else ())])
    return found


def _pairs(state: State, exclude: Sequence[Collection[str]]) -> list[np.ndarray]:
    """Of each segment, (P, 2) int64 pairs of a query and a row that is not for it."""
    pairs = [(query, image) for query, ids in enumerate(exclude) for image in ids]
    if not pairs:
        return [NO_PAIRS] * len(state.segments)
    queries, ids = np.array([query for query, _ in pairs]), pl.Series([image for _, image in pairs])
    rows = [segment.find(ids) for segment in state.segments]
    return [np.stack([queries[found >= 0], found[found >= 0]], axis=1) for found in rows]


def _with_columns(state: State, found: pl.DataFrame) -> pl.DataFrame:
    """Hits, with their ranks and the columns of the index."""
    ranked = found.with_row_index("place").with_columns(rank=pl.int_range(1, pl.len() + 1).over("query"))
    columns = [pl.DataFrame(schema={"place": pl.UInt32})]
    for number, segment in enumerate(state.segments):
        of_segment = ranked.filter(pl.col("segment") == number)
        columns.append(of_segment.select("place").hstack(segment.frame[of_segment["row"].to_numpy()].drop("id")))
    joined = ranked.join(pl.concat(columns, how="diagonal"), on="place", how="left").sort("place")
    return joined.select(*FIRST, pl.all().exclude(*FIRST, "place", "segment", "row"))
