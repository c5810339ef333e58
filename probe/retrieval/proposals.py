"""Float32 proposes each query's candidates in one pass over the index, and float64 ranks them.

A product of a block of index rows and a block of queries stays in the cache. Its maxima over groups of rows are
compared with a lower bound of each query's k-th best, which rises as candidates are found, and starts at the k-th best
of a sample. What is kept are the best k and some spare ones; a query is resolved if nothing that was let go comes near.

    rows, similarities, resolved = propose(work, advance)
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from probe.retrieval.work import Work, best_of_each, positions, ranges, workers

INF = float("inf")
PIECE = 4096


def propose(work: Work, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (Q, k), similarities (Q, k), best first, -1 and -inf past the last; and which queries' (Q,) are proven."""
    blocks = work.blocks
    with workers(work.device) as (count, run):
        # as many parts for each worker, of one size
        size = -(-len(work.queries) // (count * -(-len(work.queries) // (count * blocks.queries))))
        parts = [_Part(work, start, stop) for start, stop in ranges(len(work.queries), size)]
        _start_from_sample(work, parts)
        for start, stop in ranges(len(work.index), blocks.chunk):
            rows = _index_rows(work, start, stop, run)
            run(lambda part, rows=rows, start=start, stop=stop: part.compare_all(rows, start, stop), parts)
            advance((stop - start) * len(work.queries))
    return _rank(work, parts)


def _index_rows(work: Work, start: int, stop: int, run: Callable) -> torch.Tensor:
    """Those of the space, and zeros until the groups are whole; made in pieces, as their float64 stays in the cache."""

    @torch.inference_mode()
    def rows_of(piece: torch.Tensor) -> torch.Tensor:
        return work.space.index_rows(piece, torch.float32)

    pieces = run(rows_of, work.read(start, stop).split(PIECE))
    return torch.cat([*pieces, pieces[0].new_zeros(-(stop - start) % work.blocks.group, pieces[0].shape[1])])


class _Part:
    """The candidates of a block of queries."""

    def __init__(self, work: Work, start: int, stop: int) -> None:
        self.work, self.start, self.stop = work, start, stop
        queries = work.queries[start:stop]
        self.rows = work.space.query_rows(queries, torch.float32)
        self.across = self.rows.T.contiguous()  # (D, q)
        self.error = work.space.error(queries, torch.float32)
        count = len(queries)
        self.width = min(work.k + work.blocks.spare, len(work.index))
        self.best = self.rows.new_full((count, self.width), -INF)
        self.best_rows = torch.full((count, self.width), -1, device=work.device)
        self.cut = self.rows.new_full((count,), -INF)  # a neighbour's proposal is not below it
        self.let_go = self.rows.new_full((count,), -INF)  # the greatest proposal that was not kept
        self.seen = torch.zeros(count, dtype=torch.int64, device=work.device)
        self.given_up = torch.zeros(count, dtype=torch.bool, device=work.device)
        self.hopeful = True
        self.pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.pending_count = 0

    def raise_cut(self, kth: torch.Tensor) -> None:
        lower = (kth.double() - 2 * self.error).float()
        self.cut = torch.maximum(self.cut, lower.nextafter(torch.full_like(lower, -INF)))

    def give_up(self, queries: torch.Tensor) -> None:
        self.given_up |= queries
        self.cut[self.given_up] = INF
        self.hopeful = not bool(self.given_up.all())

    @torch.inference_mode()  # a worker does not inherit it
    def compare_all(self, rows: torch.Tensor, start: int, end: int) -> None:
        """Takes the candidates among index rows `start` and on; those from `end` on are padding."""
        blocks, count = self.work.blocks, len(self.rows)
        products = self.work.buffer("products", blocks.index, count)
        best = self.work.buffer("best", blocks.index // blocks.group, count)
        for first, last in ranges(len(rows), blocks.index):
            if not self.hopeful:
                return
            for at, to in ranges(last - first, blocks.product):
                torch.mm(rows[first + at : first + to], self.across, out=products[at:to])  # (n, D) @ (D, q)
                groups = products[at:to].view(-1, blocks.group, count)
                torch.amax(groups, 1, out=best[at // blocks.group : to // blocks.group])
            self.take(products[: last - first], best[: (last - first) // blocks.group], start + first, end)
            if self.pending_count > self.best.numel() // 2:
                self.merge()

    def take(self, products: torch.Tensor, best: torch.Tensor, first: int, end: int) -> None:
        """The products (n, q) that reach the cut, and by their maxima only those groups (n / group, q) that do."""
        group, query = (best >= self.cut).nonzero(as_tuple=True)
        if len(group):
            values = products.view(-1, self.work.blocks.group, len(self.rows))[group, :, query]
            rows = group[:, None] * self.work.blocks.group + torch.arange(values.shape[1], device=group.device) + first
            hit = ((values >= self.cut[query, None]) & (rows < end)).nonzero(as_tuple=True)
            self.pending.append((query[hit[0]], rows[hit], values[hit]))
            self.pending_count += len(hit[0])

    def merge(self) -> None:
        """Brings what was found into the best, and raises the cut."""
        if not self.pending:
            return
        query, row, value = (torch.cat(column) for column in zip(*self.pending, strict=True))
        self.pending, self.pending_count = [], 0
        real = ~self.work.is_excluded(query + self.start, row)
        query, row, value = query[real], row[real], value[real]
        self.seen += query.bincount(minlength=len(self.rows))
        chosen, rank = best_of_each(query, value, self.width + 1)
        query, row, value = query[chosen], row[chosen], value[chosen]
        new = torch.full((len(self.rows), self.width + 1), -INF, device=value.device)
        new_rows = torch.full(new.shape, -1, device=value.device)
        new[query, rank], new_rows[query, rank] = value, row
        best, at = torch.cat([self.best, new], dim=1).topk(self.width + 1, dim=1)
        best_rows = torch.cat([self.best_rows, new_rows], dim=1).gather(1, at)
        self.let_go = torch.maximum(self.let_go, best[:, -1])
        self.best, self.best_rows = best[:, :-1].contiguous(), best_rows[:, :-1].contiguous()
        self.raise_cut(self.best[:, self.work.k - 1])
        self.give_up(self.seen > self.work.blocks.patience)


def _start_from_sample(work: Work, parts: list[_Part]) -> None:
    """The k-th best of some of the index is a lower bound; where too many are level with it, float32 will not do."""
    length, spread = len(work.index), 64
    size = min(length, max(4 * parts[0].width, min(work.blocks.sample, length // 16)))
    if size < work.k:
        return
    starts = np.linspace(0, length - -(-size // spread), spread).astype(np.int64)
    sample = np.unique((starts[:, None] + np.arange(-(-size // spread))).clip(0, length - 1))
    rows = work.space.index_rows(work.index.take(sample).block(0, len(sample)).to(work.device), torch.float32)
    excluded = positions(work.excluded, np.arange(len(work.queries)), sample)
    for part in parts:
        products = rows @ part.across  # (n, D) @ (D, q)
        first, last = np.searchsorted(excluded[:, 0], (part.start, part.stop))
        query, row = torch.from_numpy(excluded[first:last]).to(work.device).unbind(1)
        products[row, query - part.start] = -INF
        if len(sample) >= 64 * part.width:  # maxima of groups are enough, and fewer
            products = products[: len(sample) // 8 * 8].view(8, -1, products.shape[1]).amax(0)
        best = products.T.contiguous().topk(min(part.width + 1, len(products)), dim=1).values
        part.raise_cut(best[:, work.k - 1])
        if best.shape[1] > part.width:
            part.give_up((best[:, -1] >= part.cut) & best[:, -1].isfinite())


def _rank(work: Work, parts: list[_Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    for part in parts:
        part.merge()
    resolved = torch.cat([~part.given_up & ~((part.let_go >= part.cut) & (part.let_go > -INF)) for part in parts])
    rows = torch.cat([part.best_rows for part in parts])
    near = torch.cat([part.best >= part.cut[:, None] for part in parts]) & resolved[:, None] & (rows >= 0)
    query, at = near.nonzero(as_tuple=True)
    similarities = torch.full(rows.shape, -INF, dtype=torch.float64, device=work.device)
    similarities[query, at] = _exact(work, query, rows[query, at])
    found = []
    for start, stop in ranges(len(rows), work.blocks.queries):
        by_row, order = rows[start:stop].sort(dim=1)
        best, at = similarities[start:stop].gather(1, order).sort(dim=1, descending=True, stable=True)
        best = best[:, : work.k]
        found.append((by_row.gather(1, at)[:, : work.k].masked_fill(best == -INF, -1).cpu(), best.cpu()))
    rows, similarities = (torch.cat(column).numpy() for column in zip(*found, strict=True))
    return rows, similarities, resolved.cpu().numpy()


def _exact(work: Work, query: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """(P,) float64, in one more pass over those parts of the index in which there are candidates."""
    row, order = row.sort()
    query, found = query[order], torch.empty(len(row), dtype=torch.float64, device=work.device)
    edges = np.searchsorted(row.cpu().numpy(), np.arange(0, len(work.index) + work.blocks.chunk, work.blocks.chunk))
    for number, (first, last) in enumerate(pairwise(edges)):
        if last > first:
            start, here = number * work.blocks.chunk, row[first:last]
            if last - first < work.blocks.chunk // 16:
                distinct, at = here.unique(return_inverse=True)
                vectors = work.index.take(distinct.cpu().numpy()).block(0, len(distinct)).to(work.device)
            else:
                vectors, at = work.read(start, min(start + work.blocks.chunk, len(work.index))), here - start
            found[order[first:last]] = work.exact(query[first:last], vectors, at)
    return found
