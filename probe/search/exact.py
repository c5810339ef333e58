"""The search: float32 proposes candidates in one pass over the index, and float64 ranks them.

A query is left open where more index rows come near its k-th best than are kept, such as duplicates, or vectors that
float32 cannot tell apart; then float64 proposes. docs/evaluation.md ("Why the search is exact") has the proof.

    neighbours = search(queries, index, k=5, same_image=np.array([(0, 17)]))     # query 0 is image 17 of the index
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from probe.errors import UsageError
from probe.search.batch import BLOCKS, Blocks, QueryBatch, positions
from probe.search.distances import DISTANCES, CosineSpace, Distance, EuclideanSpace
from probe.search.duplicates import without_late_copies
from probe.search.float32_pass import propose
from probe.search.float64_pass import decide
from probe.search.vectors import Vectors

PAIRS = 8192  # read at once


@dataclass(frozen=True)
class Neighbours:
    """Of each query, best first."""

    rows: np.ndarray
    """(Q, k) int64 index rows; -1 past the last one."""
    similarities: np.ndarray
    """(Q, k) float64 cosines, or minus the Euclidean distances; -inf past the last one."""


def search(
    queries: torch.Tensor | Vectors,
    index: torch.Tensor | Vectors,
    k: int,
    same_image: np.ndarray,
    distance: Distance = "cosine",
    advance: Callable[[int], None] = lambda comparisons: None,
    *,
    blocks: Blocks | None = None,
) -> Neighbours:
    """The k most similar index rows of each query, the pairs of `same_image` left out.

    queries (Q, D) and index (N, D) are of any length and lie anywhere; the work is done on the queries' device.
    same_image: (P, 2) int64 (query row, index row), in any order. advance: told the comparisons done since it was last
    told, Q * N in all. Similarities are cosines, or minus the distances. Raises ProbeError for a vector that is not
    finite or, of a cosine, zero; UsageError for two dimensions, and for a pair outside. Memory: the input where it
    lies, the result, and less than 1 GB on a CPU.
    """
    queries, index = (each if isinstance(each, Vectors) else Vectors(each) for each in (queries, index))
    if queries.dim != index.dim:
        raise UsageError(f"queries have {queries.dim} dimensions, the index has {index.dim}; search in one space.")
    same_image = _sorted(same_image, len(queries), len(index))
    device, count = queries.device, min(k, len(index))
    blocks = blocks or BLOCKS[device.type]
    found = Neighbours(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf))
    at_once = max(blocks.queries, blocks.kept // (2 * index.dim + 4 * (k + blocks.spare)))
    with torch.inference_mode(), _full_float32(device):
        space = DISTANCES[distance](queries, index, device)
        unresolved = [np.zeros(0, np.int64)]
        for start in range(0, len(queries) if count else 0, at_once):
            some = np.arange(start, min(start + at_once, len(queries)))
            batch = QueryBatch(
                space, queries.take(some), index, count, positions(same_image, some, None), device, blocks
            )
            rows, similarities, resolved = propose(batch, advance)
            found.rows[some, :count], found.similarities[some, :count] = rows, similarities
            unresolved.append(some[~resolved])
        left_open = np.concatenate(unresolved)
        if len(left_open):
            _search_in_float64(space, queries, index, left_open, same_image, at_once, blocks, found)
    return found


def _search_in_float64(
    space: CosineSpace | EuclideanSpace,
    queries: Vectors,
    index: Vectors,
    left_open: np.ndarray,
    same_image: np.ndarray,
    at_once: int,
    blocks: Blocks,
    found: Neighbours,
) -> None:
    """Fills `found` in for the queries that float32 leaves open (U,)."""
    count = min(found.rows.shape[1], len(index))
    pairs = positions(same_image, left_open, None)
    copies = count + (int(np.bincount(pairs[:, 0]).max()) if len(pairs) else 0)
    kept = without_late_copies(index, copies)
    for start in range(0, len(left_open), at_once):
        some = left_open[start : start + at_once]
        pairs = positions(same_image, some, kept)
        batch = QueryBatch(space, queries.take(some), index.take(kept), count, pairs, queries.device, blocks)
        rows, similarities = decide(batch)
        found.rows[some, :count] = np.where(rows < 0, -1, kept[rows])
        found.similarities[some, :count] = similarities


def paired_similarities(queries: Vectors, others: Vectors, distance: Distance = "cosine") -> np.ndarray:
    """(P,) float64: of each query and the vector in the same position, the bits that a search has for the two."""
    exact = DISTANCES[distance].exact
    blocks = [
        exact(queries.block(start, start + PAIRS), others.block(start, start + PAIRS)).cpu().numpy()
        for start in range(0, len(queries), PAIRS)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _sorted(pairs: np.ndarray, queries: int, rows: int) -> np.ndarray:
    """Raises UsageError for a pair of a query or row that is not there."""
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise UsageError(f"same_image has shape {pairs.shape} of {pairs.dtype}; it is (P, 2) of int64.")
    outside = ((pairs < 0) | (pairs >= (queries, rows))).any(1)
    if outside.any():
        query, row = pairs[outside.argmax()]
        raise UsageError(f"same_image names query {query} and row {row}, of {queries} queries and {rows} rows.")
    keys = pairs[:, 0] * max(rows, 1) + pairs[:, 1]
    return pairs if (keys[1:] > keys[:-1]).all() else pairs[np.unique(keys, return_index=True)[1]]


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Products of float32 are made of float32, whatever the caller has set: no TF32, no bfloat16, no autocast."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
