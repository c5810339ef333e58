"""Latency of searches by `probe serve`, client and server on the same machine, over random vectors of unit length: many
at once; as many as some clients ask one after the other; and such that come by themselves at a rate, whatever is
answered yet. No image is embedded. The server's CPU time per search does not depend on what else the machine does.

python -m benchmarks.serve --rows 10000 1000000 --at-once 1000 --clients 1 8 64 --rates 100 200 --kinds flat ivf
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import made
from probe import Index
from probe.terminal import printer

STARTS = 600  # seconds, on a machine under load too
EACH = 1 << 18  # rows made at once

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answers = tuple[list[int], list[float]]
"""Of each search its status, and its seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_400_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=1000, help="searches that begin together")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64], help="each asks one after the other")
    parser.add_argument("--rates", type=int, nargs="*", default=[], help="searches a second that come by themselves")
    parser.add_argument("--searches", type=int, default=400, help="of all clients together, and of each rate")
    parser.add_argument("--kinds", nargs="+", default=["flat"], help="of the index, as `probe index build` makes them")
    parser.add_argument("--clusters", type=int, default=0, help="around so many directions; 0 for none")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder) / "random.index", rows, options.dim, options.clusters)
            for kind in options.kinds:
                if kind != "flat":
                    Index.open(path).build(kind, say=lambda line: printer().print(line))
                with serving(path) as (port, process):
                    measure(f"{rows:,} rows, {kind}", port, process, rows, options)


def measure(what: str, port: int, process: int, rows: int, options: argparse.Namespace) -> None:
    asyncio.run(one_after_the_other(port, ids(rows, 16), 4))  # the first reads the files
    loads: list[tuple[str, Callable[[], Coroutine[Any, Any, Answers]]]] = []
    if options.at_once:
        loads.append((f"{options.at_once:,} at once", partial(loop, port, rows, options.at_once, options.at_once)))
    loads += [(f"{count} clients", partial(loop, port, rows, options.searches, count)) for count in options.clients]
    loads += [(f"{rate} a second", partial(at_rate, port, rows, options.searches, rate)) for rate in options.rates]
    for name, load in loads:
        began, before = time.perf_counter(), cpu_seconds(process)
        statuses, seconds = asyncio.run(load())
        whole, busy = time.perf_counter() - began, cpu_seconds(process) - before
        p50, p95, p99 = (1000 * np.percentile(seconds, share) for share in (50, 95, 99))
        errors = sum(status != 200 for status in statuses)
        printer().print(
            f"{what}, {name}: {len(seconds):,} searches, {errors} errors, p50 {p50:,.0f} ms, p95 {p95:,.0f} ms, p99 "
            f"{p99:,.0f} ms, {len(seconds) / whole:,.0f} searches/s, {1000 * busy / len(seconds):,.1f} ms of CPU each",
            soft_wrap=True,
        )


def ids(rows: int, count: int) -> list[str]:
    return [f"{row:09}" for row in np.random.default_rng(1).integers(0, rows, count)]


def make(path: Path, rows: int, dim: int, clusters: int) -> Path:
    """In one segment."""
    generator = np.random.default_rng(0)
    vectors = np.empty((rows, dim), np.float32)
    for start in range(0, rows, EACH):
        vectors[start : start + EACH] = made(generator, min(EACH, rows - start), dim, clusters)
    index = Index.create(path, dim=dim)
    index.add_vectors([f"{row:09}" for row in range(rows)], vectors)
    index.compact()
    return path


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(index: Path) -> Iterator[tuple[int, int]]:
    """The port of a server of its own process, and the number of that."""
    said = index.parent / "said"
    with said.open("wb") as output:
        words = [sys.executable, "-m", "probe", "serve", str(index), "--port", "0", "--device", "cpu"]
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    try:
        patience = time.monotonic() + STARTS
        while not (found := re.search(r"http://[^:]+:(\d+)/", said.read_text())):
            assert process.poll() is None and time.monotonic() < patience, said.read_text()  # noqa: PT018
            time.sleep(0.05)
        yield int(found[1]), process.pid
        assert process.poll() is None, said.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


async def loop(port: int, rows: int, searches: int, clients: int) -> Answers:
    return await one_after_the_other(port, ids(rows, searches // clients * clients), clients)


async def one_after_the_other(port: int, queries: list[str], clients: int) -> Answers:
    """Status and seconds of each query; each client has a connection of its own, open before the clock starts."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    answers: Answers = ([], [])

    async def client(number: int) -> None:
        for id in queries[number::clients]:
            await ask(connections[number], id, time.perf_counter(), answers)

    await asyncio.gather(*(client(number) for number in range(clients)))
    for _, writer in connections:
        writer.close()
    return answers


async def at_rate(port: int, rows: int, searches: int, rate: int) -> Answers:
    """Each search comes at a moment of its own (a Poisson process), from which on its seconds count."""
    chance, free, tasks = np.random.default_rng(2), [], []
    answers: Answers = ([], [])

    async def one(id: str, at: float) -> None:
        connection = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        await ask(connection, id, at, answers)
        free.append(connection)

    began = time.perf_counter()
    for id, at in zip(ids(rows, searches), began + chance.exponential(1 / rate, searches).cumsum(), strict=True):
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        tasks.append(asyncio.create_task(one(id, at)))
    await asyncio.gather(*tasks)
    for _, writer in free:
        writer.close()
    return answers


async def ask(connection: Connection, id: str, began: float, answers: Answers) -> None:
    reader, writer = connection
    writer.write(f"GET /api/search?id={id}&k=10 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    await reader.readexactly(int(length[1]) if length else 0)
    answers[0].append(int(head.split()[1]))
    answers[1].append(time.perf_counter() - began)


if __name__ == "__main__":
    main()
