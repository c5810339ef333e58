"""Products in float64, for the queries that float32 leaves open: what is level with their k-th best is scored exactly.

rows, similarities = decide(batch)
"""

import numpy as np
import torch

from probe.search.batch import QueryBatch, best_of_each, ranges

INF = float("inf")
PRODUCT = 2**22  # numbers of one product


def decide(batch: QueryBatch) -> tuple[np.ndarray, np.ndarray]:
    """Rows (Q, k) and similarities (Q, k), best first; -1 and -inf past the last one."""
    parts = [_Part(batch, start, stop) for start, stop in ranges(len(batch.queries), batch.blocks.float64)]
    step = min(batch.blocks.chunk, max(1, PRODUCT // batch.blocks.float64))
    for start, stop in ranges(len(batch.index), step):
        vectors = batch.read(start, stop)
        rows = batch.space.index_rows(vectors, torch.float64)
        prepared = batch.space.prepared(vectors)
        for part in parts:
            part.compare(prepared, rows, start)
    rows = torch.cat([part.best_rows for part in parts]).cpu().numpy()
    return rows, torch.cat([part.best for part in parts]).cpu().numpy()


class _Part:
    """The exact k best of a block of queries among the index rows so far, which are walked in order."""

    def __init__(self, batch: QueryBatch, start: int, stop: int) -> None:
        self.batch, self.start = batch, start
        self.queries = batch.queries[start:stop]
        self.rows = batch.space.query_rows(self.queries, torch.float64)
        self.prepared = batch.space.prepared(self.queries)
        self.error = batch.space.error(self.queries, torch.float64)
        self.best = torch.full((len(self.rows), batch.k), -INF, dtype=torch.float64, device=batch.device)
        self.best_rows = torch.full(self.best.shape, -1, device=batch.device)
        first, last = np.searchsorted(batch.excluded[:, 0], (start, stop))
        self.excluded = torch.from_numpy(batch.excluded[first:last]).to(batch.device)

    def compare(self, prepared: torch.Tensor, rows: torch.Tensor, first: int) -> None:
        products = self.rows @ rows.T  # (q, D) @ (D, n)
        here = self.excluded[(self.excluded[:, 1] >= first) & (self.excluded[:, 1] < first + len(rows))]
        products[here[:, 0] - self.start, here[:, 1] - first] = -INF
        cut = self.batch.space.proposal(self.best[:, -1], self.queries) - self.error
        if len(rows) >= self.batch.k:
            cut = torch.maximum(cut, products.topk(self.batch.k, dim=1).values[:, -1] - 2 * self.error)
        query, row = ((products >= cut[:, None]) & (products > -INF)).nonzero(as_tuple=True)
        similarity = self.batch.similarity(self.prepared, query, prepared, row)
        better = similarity > self.best[query, -1]  # of equals the earlier row stays
        if better.any():
            self._merge(query[better], row[better] + first, similarity[better])

    def _merge(self, query: torch.Tensor, row: torch.Tensor, similarity: torch.Tensor) -> None:
        old = (self.best_rows >= 0).nonzero(as_tuple=True)
        query, row = torch.cat([old[0], query]), torch.cat([self.best_rows[old], row])
        similarity = torch.cat([self.best[old], similarity])
        chosen, rank = best_of_each(query, similarity, self.batch.k)  # earlier rows come first, and stay so in ties
        query = query[chosen]
        self.best.fill_(-INF)
        self.best_rows.fill_(-1)
        self.best[query, rank], self.best_rows[query, rank] = similarity[chosen], row[chosen]
