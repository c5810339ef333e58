"""Exact nearest neighbours by cosine similarity; ties go to the earlier index row; a query never finds itself.

A matrix product in float32 proposes candidates, which are scored again in float64. Where the proposal cannot be proven
to hold the true neighbours (float32 rounding is bounded, with TF32 off, as PyTorch has it), the query is scored against
the whole index in float64.

    neighbours = search(queries, index, k=5, same_image=same_image_pairs(query_ids, index_ids))
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from probe.errors import ProbeError

QUERY_BLOCK = 256
INDEX_BLOCK = 16384
SPARE_CANDIDATES = 32


@dataclass(frozen=True)
class Neighbours:
    """`rows` (Q, k) int64 index rows, best first, and `similarities` (Q, k) float64; -1 and -inf past the last one."""

    rows: np.ndarray
    similarities: np.ndarray


def same_image_pairs(queries: Sequence[str], index: Sequence[str]) -> np.ndarray:
    """(P, 2) int64: each (query row, index row) that is one image, by id, sorted."""
    rows_of: dict[str, list[int]] = {}
    for row, image in enumerate(index):
        rows_of.setdefault(image, []).append(row)
    pairs = [(query, row) for query, image in enumerate(queries) for row in rows_of.get(image, ())]
    return np.array(pairs, np.int64).reshape(-1, 2)


def search(queries: torch.Tensor, index: torch.Tensor, k: int, same_image: np.ndarray) -> Neighbours:
    """The k most similar index rows of each query, the pairs of `same_image` left out.

    queries (Q, D) and index (N, D) are float32, of any length, on one device. Raises ProbeError for a vector that is
    zero or not finite. Memory: one block of similarities besides the input.
    """
    queries, index = _normalized(queries, "query"), _normalized(index, "index")
    rows = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -np.inf)
    found = min(k, len(index))
    for start in range(0, len(queries), QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, len(queries))
        first, last = np.searchsorted(same_image[:, 0], (start, stop))
        excluded = torch.from_numpy(same_image[first:last] - (start, 0)).to(queries.device)
        best_rows, best = _search_block(queries[start:stop], index, found, excluded)
        rows[start:stop, :found] = best_rows.cpu().numpy()
        similarities[start:stop, :found] = best.cpu().numpy()
    rows[np.isneginf(similarities)] = -1
    return Neighbours(rows, similarities)


def _search_block(
    queries: torch.Tensor, index: torch.Tensor, k: int, excluded: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    candidates, proposed = _propose(queries, index, min(k + SPARE_CANDIDATES, len(index)), excluded)
    exact = _exact(queries, index[candidates]).masked_fill(proposed.isneginf(), -torch.inf)
    rows, best = _ranked(candidates, exact, k)
    if candidates.shape[1] < len(index):
        # an index row that was not proposed scores at most this in float64
        bound = proposed[:, -1].double() + index.shape[1] * torch.finfo(torch.float32).eps
        for query in (best[:, -1] <= bound).nonzero()[:, 0].tolist():
            rows[query], best[query] = _exhaustive(queries[query], index, k, excluded[excluded[:, 0] == query, 1])
    return rows, best


def _propose(
    queries: torch.Tensor, index: torch.Tensor, count: int, excluded: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and float32 similarities (B, count) of the most similar index rows, best first; excluded ones are -inf."""
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    values = queries.new_empty(len(queries), 0)
    for start in range(0, len(index), INDEX_BLOCK):
        block = queries @ index[start : start + INDEX_BLOCK].T  # (B, D) @ (D, block)
        here = excluded[(excluded[:, 1] >= start) & (excluded[:, 1] < start + INDEX_BLOCK)]
        block[here[:, 0], here[:, 1] - start] = -torch.inf
        top = block.topk(min(count, block.shape[1]), dim=1)
        rows = torch.cat([rows, top.indices + start], dim=1)
        values, kept = torch.cat([values, top.values], dim=1).topk(min(count, rows.shape[1]), dim=1)
        rows = rows.gather(1, kept)
    return rows, values


def _exact(queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """(B, D), (B, M, D) -> (B, M) float64; row by row, so that equal vectors get equal bits."""
    return (queries[:, None].double() * vectors.double()).sum(-1)


def _ranked(rows: torch.Tensor, similarities: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, by_row = rows.sort(dim=1)
    best, order = similarities.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    return rows.gather(1, order)[:, :k], best[:, :k]


def _exhaustive(
    query: torch.Tensor, index: torch.Tensor, k: int, excluded: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    exact = torch.cat([_exact(query[None], block[None])[0] for block in index.split(INDEX_BLOCK)])
    exact[excluded] = -torch.inf
    best, rows = exact.sort(descending=True, stable=True)
    return rows[:k], best[:k]


def _normalized(vectors: torch.Tensor, role: str) -> torch.Tensor:
    largest = vectors.abs().amax(dim=1, keepdim=True)  # scaled by it, no length over- or underflows
    bad = (~(largest > 0) | ~largest.isfinite()).nonzero()[:, 0]
    if len(bad):
        raise ProbeError(
            f"{len(bad):,} {role} embedding(s) are zero or not finite, the first in row {int(bad[0])}; "
            "such vectors have no direction to compare."
        )
    return F.normalize(vectors / largest, dim=1)
