"""Float32 proposes each query's candidates in one pass over the index, and float64 ranks them.

A product of a block of index rows and a block of queries stays in a core's cache; all that is kept of it are its maxima
over groups of rows. The best groups of a chunk of the index are computed once more, and the best of their rows kept.
A query is resolved if no group and no row that was let go comes near its k-th best (docs/evaluation.md has the proof).

    rows, similarities, resolved = propose(batch, advance)
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch

from probe.search.batch import QueryBatch, ranges, workers
from probe.search.kernel import Kernel

INF = float("inf")
PIECE = 4096
# Where many groups are wanted, all are computed once more: a number of gathered rows costs as much as GATHERED of one
# product, and each result, among which the best are searched, as much as KEPT.
GATHERED, KEPT = 20, 60


def propose(batch: QueryBatch, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (Q, k), similarities (Q, k), best first, -1 and -inf past the last; and which queries' (Q,) are proven."""
    blocks = batch.blocks
    with workers(batch.device) as (count, run):
        # as many parts for each worker, of one size
        size = -(-len(batch.queries) // (count * -(-len(batch.queries) // (count * blocks.queries))))
        parts = [_Part(batch, start, stop) for start, stop in ranges(len(batch.queries), size)]
        if by_rows := len(batch.queries) <= blocks.few:  # each worker has all queries, and some rows of a chunk
            parts = [_Part(batch, 0, len(batch.queries)) for _ in range(count)]
        for start, stop in _chunks(batch):
            rows = _index_rows(batch, start, stop, run)
            work = [(rows, start, stop)] * len(parts)
            if by_rows:
                work = _divided(rows, start, stop, batch.group, count)
            for _ in run(lambda each: each[0].compare(*each[1]), list(zip(parts, work, strict=False))):
                pass
            advance((stop - start) * len(batch.queries))
    return _rank(batch, [_together(parts)] if by_rows else parts)


def _divided(rows: torch.Tensor, start: int, stop: int, group: int, count: int) -> list[tuple[torch.Tensor, int, int]]:
    """Index rows `start` to `stop`, and their padding, as at most `count` ranges of whole groups."""
    step = -(-len(rows) // (group * count)) * group
    return [(rows[at : at + step], start + at, min(stop, start + at + step)) for at in range(0, len(rows), step)]


def _together(parts: "list[_Part]") -> "_Part":
    """What several parts have found for the same queries among different rows, as one."""
    whole = parts[0]
    values, rows = (torch.cat(found, dim=1) for found in ([p.best for p in parts], [p.best_rows for p in parts]))
    best, at = values.topk(whole.width, dim=1)
    let_go = [part.let_go for part in parts] + [values.scatter(1, at, -INF).amax(1)]
    whole.best, whole.best_rows, whole.let_go = best, rows.gather(1, at), torch.stack(let_go).amax(0)
    return whole


def _chunks(batch: QueryBatch) -> Iterator[tuple[int, int]]:
    """First and last rows of what is read at once; of rows that stay as they are, whole groups by themselves."""
    for start, stop in ranges(len(batch.index), batch.blocks.rows_of_chunk(batch.index.dim)):
        whole = stop - (stop - start) % batch.group
        if batch.space.as_they_are and start < whole < stop:
            yield start, whole
            start = whole
        yield start, stop


def _index_rows(batch: QueryBatch, start: int, stop: int, run: Callable) -> torch.Tensor:
    """Those of the space, and zeros until the groups are whole; made in pieces, as their float64 stays in the cache."""
    if batch.space.as_they_are:
        rows = batch.read(start, stop).float()
        padding = -(stop - start) % batch.group
        return torch.cat([rows, rows.new_zeros(padding, rows.shape[1])]) if padding else rows

    @torch.inference_mode()
    def rows_of(piece: torch.Tensor) -> torch.Tensor:
        return batch.space.index_rows(piece, torch.float32)

    pieces = list(run(rows_of, batch.read(start, stop).split(PIECE)))
    rows = torch.cat([*pieces, pieces[0].new_zeros(-(stop - start) % batch.group, pieces[0].shape[1])])
    if not rows.sum().isfinite():
        batch.space.refuse_index()
    return rows


class _Part:
    """The candidates of a block of queries."""

    def __init__(self, batch: QueryBatch, start: int, stop: int) -> None:
        self.batch, self.start = batch, start
        queries = batch.queries[start:stop]
        self.rows = batch.space.query_rows(queries, torch.float32)  # (q, D)
        self.error = batch.space.error(queries, torch.float32)
        self.width = min(batch.k + batch.blocks.spare, len(batch.index))
        self.best = self.rows.new_full((len(queries), self.width), -INF)
        self.best_rows = torch.full(self.best.shape, -1, device=batch.device)
        self.let_go = self.rows.new_full((len(queries),), -INF)  # the greatest proposal that was not kept

    @cached_property
    def across(self) -> torch.Tensor:
        """(D, q), for products with many rows; the kernel and few queries do without."""
        return self.rows.T.contiguous()

    @property
    def cut(self) -> torch.Tensor:
        return self._below(self.best[:, self.batch.k - 1])

    def _below(self, kth: torch.Tensor) -> torch.Tensor:
        """(q,) What a neighbour's proposal is not below, if the k-th best is at least this one."""
        lower = (kth.double() - 2 * self.error).float()
        return lower.nextafter(torch.full_like(lower, -INF))

    @torch.inference_mode()  # a worker does not inherit it
    def compare(self, rows: torch.Tensor, start: int, end: int) -> "_Part":
        """Takes the candidates among index rows `start` and on; those from `end` on are padding."""
        maxima = self._maxima(rows, end - start)
        groups = maxima.shape[1]
        count = min(self.width + self.batch.most_excluded, groups)
        maxima, group = maxima.topk(min(count + 1, groups), dim=1)
        if groups > count:
            self.let_go = torch.maximum(self.let_go, maxima[:, -1])
        cut = self.cut
        if count >= (enough := self.batch.k + self.batch.most_excluded):  # so many groups hold k that are not left out
            cut = torch.maximum(cut, self._below(maxima[:, enough - 1]))
        wanted = maxima[:, :count] >= cut[:, None]
        wanted = wanted[:, : int(wanted.sum(1).max())]  # maxima are in order
        if wanted.shape[1] * (GATHERED * rows.shape[1] + KEPT) > groups * (rows.shape[1] + KEPT):
            group = torch.arange(groups, device=rows.device).expand(len(group), -1)
            for first, last in ranges(len(group), max(1, self.batch.blocks.dense // len(rows))):
                self._keep(self._all_scores(first, last, rows, end - start), group[first:last], start, first)
        elif wanted.shape[1]:
            self._keep(self._scores(rows, group, wanted, end - start), group[:, : wanted.shape[1]], start, 0)
        return self

    def _maxima(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """(q, groups) The greatest product in each group of index rows; those from `count` on are padding."""
        size, group = self.batch.blocks.product, self.batch.group
        if self.batch.kernel is not None:
            return self._maxima_by_kernel(self.batch.kernel, rows, count)
        if len(self.rows) <= self.batch.blocks.few:
            return self._maxima_by_query(rows, count)
        products = self.batch.buffer("products", size, len(self.rows))
        maxima = self.batch.buffer("maxima", len(rows) // group, len(self.rows))
        for first, last in ranges(len(rows), size):
            here = products[: last - first]
            torch.mm(rows[first:last], self.across, out=here)  # (n, D) @ (D, q)
            here[max(0, count - first) :] = -INF
            torch.amax(here.view(-1, group, len(self.rows)), 1, out=maxima[first // group : last // group])
        across = self.batch.buffer("across", *maxima.shape[::-1])
        return across.copy_(maxima.T)

    def _maxima_by_kernel(self, kernel: Kernel, rows: torch.Tensor, count: int) -> torch.Tensor:
        """As `_maxima`."""
        group = self.batch.group
        maxima = self.batch.buffer("across", len(self.rows), len(rows) // group)
        kernel.maxima(rows, self.rows, group, torch.get_num_threads(), maxima)
        if count < len(rows):  # the last group, without the padding
            maxima[:, -1] = (self.rows @ rows[len(rows) - group : count].T).amax(1)
        return maxima

    def _maxima_by_query(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """As `_maxima`, each query's products side by side: two to three times as fast where there are few queries."""
        size, group, queries = self.batch.blocks.product, self.batch.group, len(self.rows)
        maxima = self.batch.buffer("maxima", queries, len(rows) // group)
        for first, last in ranges(len(rows), size):
            here = self.batch.buffer("products", queries, last - first)
            torch.mm(self.rows, rows[first:last].T, out=here)  # (q, D) @ (D, n)
            here[:, max(0, count - first) :] = -INF
            torch.amax(here.view(queries, -1, group), 2, out=maxima[:, first // group : last // group])
        return maxima

    def _all_scores(self, first: int, last: int, rows: torch.Tensor, count: int) -> torch.Tensor:
        """(last - first, groups, group) Products of some queries with all rows; minus infinity for the padding."""
        products = self.rows[first:last] @ rows.T  # (q, D) @ (D, n)
        products[:, count:] = -INF
        return products.view(len(products), -1, self.batch.group)

    def _scores(self, rows: torch.Tensor, group: torch.Tensor, wanted: torch.Tensor, count: int) -> torch.Tensor:
        """(q, columns, group) Products with the rows of each wanted group (q, columns), perhaps of others; or -INF."""
        size, columns = self.batch.group, wanted.sum(1)
        scores = self.rows.new_full((*wanted.shape, size), -INF)
        by_group = rows.view(-1, size, rows.shape[1])
        at_once = max(1, self.batch.blocks.gathered // (wanted.shape[1] * by_group[0].numel()))
        for first, last in ranges(len(scores), at_once):
            most = int(columns[first:last].max())
            vectors = by_group.index_select(0, group[first:last, :most].flatten())
            products = torch.bmm(vectors.view(last - first, -1, rows.shape[1]), self.rows[first:last, :, None])
            scores[first:last, :most] = products.view(last - first, most, size)
        if count < len(rows):
            last = (group[:, : wanted.shape[1]] == len(by_group) - 1)[..., None]
            padding = torch.arange(size, device=rows.device) >= count - (len(by_group) - 1) * size
            scores.masked_fill_(last & padding, -INF)
        return scores

    def _keep(self, scores: torch.Tensor, group: torch.Tensor, start: int, first: int) -> None:
        """Brings the best of the scores (q, columns, group) of the queries from `first` on into their best so far."""
        size, here = scores.shape[2], slice(first, first + len(scores))
        scores = scores.flatten(1)
        value, at = scores.topk(min(self.width + 1 + self.batch.most_excluded, scores.shape[1]), dim=1)
        row = group.gather(1, at // size) * size + at % size + start
        query = torch.arange(len(row), device=row.device).add(self.start + first)[:, None].expand_as(row)
        value = value.masked_fill(self.batch.is_excluded(query, row), -INF)
        values = torch.cat([self.best[here], value], dim=1)
        best, at = values.topk(self.width, dim=1)
        rest = values.scatter_(1, at, -INF).amax(1)
        self.let_go[here] = torch.maximum(self.let_go[here], rest)
        found = torch.cat([self.best_rows[here], row], dim=1).gather(1, at)
        self.best[here], self.best_rows[here] = best, found.masked_fill(best == -INF, -1)


def _rank(batch: QueryBatch, parts: list[_Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    resolved = torch.cat([(part.let_go < part.cut) | (part.let_go == -INF) for part in parts])
    rows = torch.cat([part.best_rows for part in parts])
    near = torch.cat([part.best >= part.cut[:, None] for part in parts]) & resolved[:, None] & (rows >= 0)
    query, at = near.nonzero(as_tuple=True)
    similarities = torch.full(rows.shape, -INF, dtype=torch.float64, device=batch.device)
    similarities[query, at] = _exact(batch, query, rows[query, at])
    found = []
    for start, stop in ranges(len(rows), batch.blocks.queries):
        by_row, order = rows[start:stop].sort(dim=1)
        best, at = similarities[start:stop].gather(1, order).sort(dim=1, descending=True, stable=True)
        best = best[:, : batch.k]
        found.append((by_row.gather(1, at)[:, : batch.k].masked_fill(best == -INF, -1).cpu(), best.cpu()))
    rows, similarities = (torch.cat(column).numpy() for column in zip(*found, strict=True))
    return rows, similarities, resolved.cpu().numpy()


def _exact(batch: QueryBatch, query: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """(P,) float64, in one more pass over those parts of the index in which there are candidates."""
    row, order = row.sort()
    query, found = query[order], torch.empty(len(row), dtype=torch.float64, device=batch.device)
    step = batch.blocks.rows_of_chunk(batch.index.dim)
    edges = np.searchsorted(row.cpu().numpy(), np.arange(0, len(batch.index) + step, step))
    for number, (first, last) in enumerate(pairwise(edges)):
        if last > first:
            start, here = number * step, row[first:last]
            if last - first < step // 16:
                distinct, at = here.unique(return_inverse=True)
                vectors = batch.index.take(distinct.cpu().numpy()).block(0, len(distinct)).to(batch.device)
            else:
                vectors, at = batch.read(start, min(start + step, len(batch.index))), here - start
            found[order[first:last]] = batch.exact(query[first:last], vectors, at)
    return found
