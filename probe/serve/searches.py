"""Searches of many requests, by one thread: what waits while it searches is searched together, in one pass.

A pass over an index costs nearly the same for sixty queries as for one, and similarities are the same bits in any
batch, so that nobody's answer depends on who else asks.

    future = searches.submit(Search("photos/a.jpg", k=10))
    future.result()      # its hits, best first
"""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from probe.errors import ProbeError
from probe.index import Index
from probe.serve import answers
from probe.serve.limits import Limits
from probe.serve.refusals import Refused
from probe.serve.service import Embedded
from probe.serve.work import busy

TOGETHER = 64  # queries of one pass
RENEWED = 1.0  # seconds after which a newer state of the index is looked for


@dataclass(frozen=True)
class Search:
    query: Embedded | str
    """An image, or the id of a row."""
    k: int
    where: str | None = None
    exclude: frozenset[str] = frozenset()
    """Ids that are not for it."""


Waiting = tuple[Search, "Future[list[answers.Hit]]"]


class Searches:
    """May be submitted to from any thread."""

    def __init__(self, index: Index, limits: Limits, false_match_rate: float | None) -> None:
        self._index, self._rate = index, false_match_rate
        self._queue: queue.Queue[Waiting | None] = queue.Queue(limits.waiting)
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="search", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def submit(self, search: Search) -> "Future[list[answers.Hit]]":
        """Its hits, best first. Raises Refused where too many wait; the future raises UsageError for an id that is not
        there, and for a condition that cannot be read."""
        future: Future[list[answers.Hit]] = Future()
        try:
            self._queue.put_nowait((search, future))
        except queue.Full:
            raise busy() from None
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            with suppress(queue.Empty):
                while len(batch) < TOGETHER:
                    following = self._queue.get_nowait()
                    if following is None:
                        self._queue.put(None)
                        break
                    batch.append(following)
            self._renew()
            alike: dict[tuple[int, str | None], list[Waiting]] = {}
            for search, future in batch:
                if future.set_running_or_notify_cancel():
                    alike.setdefault((search.k, search.where), []).append((search, future))
            for waiting in alike.values():
                self._answer(waiting)

    def _answer(self, waiting: Sequence[Waiting]) -> None:
        """Where one of several cannot be answered, each is asked by itself."""
        try:
            found = self._found([search for search, _ in waiting])
        except BaseException as error:  # whatever it is, it is the answer, and the thread goes on
            if len(waiting) == 1:
                waiting[0][1].set_exception(error)
            else:
                for each in waiting:
                    self._answer([each])
        else:
            for (_, future), hits in zip(waiting, found, strict=True):
                future.set_result(hits)

    def _found(self, searches: Sequence[Search]) -> list[list[answers.Hit]]:
        ids = [search.query for search in searches if isinstance(search.query, str)]
        rows = iter(self._index.vectors(ids) if ids else ())
        vectors = np.stack(
            [next(rows) if isinstance(search.query, str) else self._vector(search.query) for search in searches]
        )
        exclude = [search.exclude for search in searches]
        frame = self._index.search(
            vectors,
            searches[0].k,
            where=searches[0].where,
            exclude=exclude if any(exclude) else None,
            false_match_rate=self._rate if self._index.manifest.is_calibrated else None,
        ).frame
        found: list[list[answers.Hit]] = [[] for _ in searches]
        for row in frame.iter_rows(named=True):
            found[row["query"]].append(answers.hit(row))
        return found

    def _vector(self, query: Embedded) -> np.ndarray:
        if query.fit != self._index.manifest.fit:
            raise Refused(503, "the index was fitted to its images anew in this moment; ask again.")
        return query.vector

    def _renew(self) -> None:
        """Takes over what another process has changed. Where that cannot be read, the state that is open goes on."""
        if time.monotonic() - self._renewed > RENEWED:
            self._renewed = time.monotonic()
            with suppress(ProbeError, OSError):
                self._index.refresh()
