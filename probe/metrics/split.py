"""A split as its search sees it: which queries search which index rows, and which of these rows are one image.

The merged index is searched by all queries at once, the separate one domain by domain. Results are images: the rows of
one, a row for each of its labels, are one result, which stands where its first row does.

    for group in SplitSearches(frame).groups("separate"): ...
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from probe.errors import UsageError


@dataclass(frozen=True)
class SearchGroup:
    """Queries that search the same index rows."""

    queries: np.ndarray
    """(Q,) positions in the frame."""
    index: np.ndarray
    """(R,) positions in the frame."""
    image_rows: np.ndarray
    """(I, most) the rows of each image, as positions in `index`, -1 past an image's last; images by their first row."""
    own_image: np.ndarray
    """(Q,) which image is the query's own; -1 where the index does not have it."""

    @property
    def images(self) -> np.ndarray:
        """(I,) the first row of each image, as a position in the frame."""
        return self.index[self.image_rows[:, 0]]

    @property
    def in_index(self) -> np.ndarray:
        """(P,) the queries whose own image is in the index, as positions in `queries`."""
        return (self.own_image >= 0).nonzero()[0]

    @property
    def comparisons(self) -> int:
        return len(self.queries) * len(self.image_rows)


class SplitSearches:
    """Those over the queries and index rows of a frame. Raises UsageError where it lacks either."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._queries, self._index = (
            frame["role"].is_in([role, "both"]).to_numpy().nonzero()[0] for role in ("query", "index")
        )
        if not len(self._queries) or not len(self._index):
            raise UsageError(
                f"nothing to score: the split has {len(self._queries):,} queries and {len(self._index):,} index images."
            )
        self._images = _numbered(frame.select("source", "image"))
        self._domains = _numbered(frame.select("domain"))

    @property
    def has_one_domain(self) -> bool:
        """Then both indexes are one."""
        return len(np.unique(self._domains)) == 1

    def groups(self, index: str) -> list[SearchGroup]:
        """All queries in the merged index; in the separate one a group for each domain that has queries."""
        if index == "merged":
            return [self._group(self._queries, self._index)]
        of_query, of_index = self._domains[self._queries], self._domains[self._index]
        return [self._group(self._queries[of_query == d], self._index[of_index == d]) for d in np.unique(of_query)]

    def _group(self, queries: np.ndarray, index: np.ndarray) -> SearchGroup:
        return SearchGroup(queries, index, *_by_image(self._images[queries], self._images[index]))


def _numbered(columns: pl.DataFrame) -> np.ndarray:
    """(N,) int64: equal rows have equal numbers."""
    return columns.select(pl.struct(pl.all()).rank("dense")).to_series().cast(pl.Int64).to_numpy()


def _by_image(of_query: np.ndarray, of_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A group's `image_rows` and `own_image`, from a number for the image of each query (Q,) and index row (R,)."""
    images, first, inverse = np.unique(of_index, return_index=True, return_inverse=True)
    place = np.empty(len(images), np.int64)
    place[np.argsort(first)] = np.arange(len(images))
    of_row = place[inverse]
    by_image = np.argsort(of_row, kind="stable")
    counts = np.bincount(of_row, minlength=1)
    rows = np.full((len(images), max(counts.max(), 1)), -1)
    occurrence = np.arange(len(of_row)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows[of_row[by_image], occurrence] = by_image
    at = np.searchsorted(images, of_query).clip(max=max(len(images) - 1, 0))
    own = np.where(images[at] == of_query, place[at], -1) if len(images) else np.full(len(of_query), -1)
    return rows, own
