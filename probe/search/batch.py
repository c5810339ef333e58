"""A part of a search as its stages see it: some queries, an index, what is left out, and how much is done at once.

batch = QueryBatch(space, queries.take(some), index, k, positions(same_image, some, None), device, Blocks())
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from probe.search.distances import CosineSpace, EuclideanSpace
from probe.search.kernel import Kernel, load
from probe.search.vectors import Vectors

MOST_WORKERS = 8
BALANCE = 4  # numbers that are computed once more in the time in which one maximum is searched


@dataclass(frozen=True)
class Blocks:
    """How much is worked on at once: this decides time and memory, and no bit of what is found."""

    queries: int = 1024  # of one product
    product: int = 2048  # index rows of one; a multiple of `group`
    group: int = 64  # index rows of which only the maximum is kept, at most
    least: int = 16  # and at least
    chunk: int = 2**19  # index rows read at once, at most
    numbers: int = 2**25  # of the index rows that are read at once
    gathered: int = 2**18  # numbers of the rows of groups that are computed once more together
    dense: int = 2**25  # numbers of a product that is kept whole, where most groups are wanted
    kept: int = 2**24  # numbers kept of the queries for which the index is read once
    spare: int = 10  # candidates kept besides the k best
    pairs: int = 2**15  # numbers of the pairs that are scored at once
    float64: int = 256  # queries of one product in float64, with as many index rows as give 2^22 numbers
    compiled: int = 2**34  # products from which on the kernel is worth its second of compiling
    by_kernel: int = 2**20  # and from which on it is worth calling, where it is compiled
    few: int = 16  # queries, up to which the workers share the rows and not the queries

    def rows_of_chunk(self, dim: int) -> int:
        """How many index rows are read at once; whole groups."""
        return max(self.group, min(self.chunk, self.numbers // dim) // self.group * self.group)

    def group_for(self, k: int, dim: int) -> int:
        """The larger the groups, the fewer maxima are there to be searched, and the more rows of the best ones have to
        be computed once more: k groups of rows of `dim` numbers."""
        group = self.group
        while group > self.least and group**2 * (k + self.spare) * dim > BALANCE * self.rows_of_chunk(dim):
            group //= 2
        return group


BLOCKS = {
    "cpu": Blocks(),
    "cuda": Blocks(queries=8192, product=65_536, gathered=2**26, dense=2**28, kept=2**26, pairs=2**22, float64=1024),
}


class QueryBatch:
    """Queries (Q, D) against an index (N, D); excluded (P, 2) int64: positions in the two, sorted."""

    def __init__(
        self,
        space: CosineSpace | EuclideanSpace,
        queries: Vectors,
        index: Vectors,
        k: int,
        excluded: np.ndarray,
        device: torch.device,
        blocks: Blocks,
    ) -> None:
        self.space, self.index, self.k, self.device, self.blocks = space, index, k, device, blocks
        self.queries = queries.block(0, len(queries)).to(device)
        self.excluded = excluded
        self.most_excluded = int(np.bincount(excluded[:, 0]).max()) if len(excluded) else 0  # of a query
        self.group = blocks.group_for(k, index.dim)
        self.kernel = self._kernel() if device.type == "cpu" else None
        self._buffers = threading.local()
        self._keys = torch.from_numpy(excluded[:, 0] * len(index) + excluded[:, 1]).to(device)

    def _kernel(self) -> Kernel | None:
        """Where the work is worth it, and a group is whole panels."""
        products = len(self.queries) * len(self.index) * self.index.dim
        if products < min(self.blocks.by_kernel, self.blocks.compiled):
            return None
        kernel = load(compiling=products >= self.blocks.compiled)
        return kernel if kernel and self.group % kernel.panel == 0 else None

    def is_excluded(self, query: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """(P,), (P,) -> (P,) bool."""
        if not len(self._keys):
            return torch.zeros_like(query, dtype=torch.bool)
        keys = query * len(self.index) + row
        return self._keys[torch.searchsorted(self._keys, keys).clamp_max(len(self._keys) - 1)] == keys

    def buffer(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """(rows, columns) float32 of a worker's own, made once: fresh memory costs as much as a product."""
        size = rows * columns
        if not hasattr(self._buffers, name) or getattr(self._buffers, name).numel() < size:
            setattr(self._buffers, name, torch.empty(size, device=self.device))
        return getattr(self._buffers, name)[:size].view(rows, columns)

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self.index.block(start, stop).to(self.device)

    def exact(self, query: torch.Tensor, vectors: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """(P,) float64: the similarities of queries and rows of `vectors`."""
        return self._in_batches(
            lambda q, x: self.space.similarity(q, self.space.prepared(x)), self._prepared, query, vectors, at
        )

    @cached_property
    def _prepared(self) -> torch.Tensor:
        return self.space.prepared(self.queries)

    def similarity(
        self, queries: torch.Tensor, query: torch.Tensor, vectors: torch.Tensor, at: torch.Tensor
    ) -> torch.Tensor:
        """As `exact`, of rows that are `prepared`: worth it where each has many pairs."""
        return self._in_batches(self.space.similarity, queries, query, vectors, at)

    def _in_batches(
        self, of_pairs: Callable, queries: torch.Tensor, query: torch.Tensor, vectors: torch.Tensor, at: torch.Tensor
    ) -> torch.Tensor:
        size = max(1, self.blocks.pairs // self.index.dim)
        found = [
            of_pairs(queries.index_select(0, q), vectors.index_select(0, x))  # copies whole rows, unlike queries[q]
            for q, x in zip(query.split(size), at.split(size), strict=True)
        ]
        return torch.cat(found) if found else self.queries.new_zeros(0, dtype=torch.float64)


def positions(pairs: np.ndarray, queries: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """The pairs of these queries and rows (sorted; None: all rows) as positions in the two; sorted pairs stay so."""
    columns = []
    for column, chosen in ((0, queries), (1, rows)):
        if chosen is None or not len(pairs):
            columns.append(pairs[:, column])
            continue
        at = np.searchsorted(chosen, pairs[:, column])
        inside = chosen[np.minimum(at, len(chosen) - 1)] == pairs[:, column]
        pairs, at = pairs[inside], at[inside]
        columns = [each[inside] for each in columns] + [at]
    return np.stack(columns, axis=1).astype(np.int64, copy=False)


@contextmanager
def workers(device: torch.device) -> Iterator[tuple[int, Callable[[Callable, Sequence], Iterator]]]:
    """Their number, and what runs a function on each part, a core a part: most operations are too small to share."""
    threads = torch.get_num_threads()
    count = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
    if count == 1:
        yield 1, map
        return
    torch.set_num_threads(threads // count)
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads // count,))
    try:
        yield count, pool.map
    finally:  # interrupted, it does not begin what waits
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + step, length)) for start in range(0, length, step))


def best_of_each(query: torch.Tensor, values: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of each query's `most` greatest values, by query and value, and their ranks; ties stay in order."""
    order = values.argsort(descending=True, stable=True)
    order = order[query[order].argsort(stable=True)]
    counts = query.bincount()
    ranks = torch.arange(len(order), device=query.device) - (counts.cumsum(0) - counts)[query[order]]
    return order[ranks < most], ranks[ranks < most]
