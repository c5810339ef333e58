"""Work of requests in a bounded number of threads, with a bounded queue before them and a limit in time.

await work.run(embed, image)        # Refused: 503 where the queue is full, 504 where it took too long
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from probe.serve.limits import Limits
from probe.serve.refusals import Refused

T = TypeVar("T")


class Work:
    """For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._pool = ThreadPoolExecutor(limits.threads, "serve")
        self._seconds, self._most = limits.seconds, limits.threads + limits.waiting
        self.under_way = 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What the function returns or raises. A thread cannot be stopped: it counts until it ends."""
        if self.under_way >= self._most:
            raise busy()
        self.under_way += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(function, *arguments)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        return await answer(future, self._seconds)

    def _ended(self) -> None:
        self.under_way -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


async def answer(future: "Future[Any]", seconds: float) -> Any:
    """Raises Refused where it is not there in time."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
    except TimeoutError:
        raise Refused(504, f"the answer took longer than {seconds:g} s; ask again, or ask for less.") from None


def busy() -> Refused:
    return Refused(503, "too many requests at once; ask again in a moment.")
