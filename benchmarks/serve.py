"""Latency of searches by `probe serve`: many at once, and as many as some clients ask one after the other, over random
vectors of unit length, client and server on the same machine. No image is embedded. The server's CPU time per search
does not depend on what else the machine does.

python -m benchmarks.serve --rows 10000 1400000 --dim 64 --at-once 1000 --clients 1 8 --kind ivf --clusters 20000
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import made
from probe import Index
from probe.terminal import printer

STARTS = 600  # seconds, on a machine under load too
EACH = 1 << 18  # rows made at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_400_000])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=1000, help="searches that begin together")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], help="each asks one search after the other")
    parser.add_argument("--searches", type=int, default=400, help="of all clients together")
    parser.add_argument("--kind", default="flat", help="of the index, as `probe index build` makes it")
    parser.add_argument("--clusters", type=int, default=0, help="around so many directions; 0 for none")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            index = make(Path(folder) / "random.index", rows, options.dim, options.clusters, options.kind)
            with serving(index) as (port, process):
                asyncio.run(ask(port, ids(rows, 16), 4))  # the first reads the files
                loads = [(f"{options.at_once:,} at once", options.at_once, 1)]
                loads += [(f"{count} clients", count, options.searches // count) for count in options.clients]
                for name, clients, each in loads:
                    began, before = time.perf_counter(), cpu_seconds(process)
                    statuses, seconds = asyncio.run(ask(port, ids(rows, clients * each), clients))
                    whole, busy = time.perf_counter() - began, cpu_seconds(process) - before
                    p50, p95, p99 = (1000 * np.percentile(seconds, share) for share in (50, 95, 99))
                    errors = sum(status != 200 for status in statuses)
                    printer().print(
                        f"{rows:,} rows, {name}: {len(seconds):,} searches, {errors} errors, p50 {p50:,.0f} ms, "
                        f"p95 {p95:,.0f} ms, p99 {p99:,.0f} ms, {len(seconds) / whole:,.0f} searches/s, "
                        f"{1000 * busy / len(seconds):,.1f} ms of CPU each"
                    )


def ids(rows: int, count: int) -> list[str]:
    return [f"{row:09}" for row in np.random.default_rng(1).integers(0, rows, count)]


def make(path: Path, rows: int, dim: int, clusters: int, kind: Any) -> Path:
    """In one segment."""
    generator = np.random.default_rng(0)
    vectors = np.empty((rows, dim), np.float32)
    for start in range(0, rows, EACH):
        vectors[start : start + EACH] = made(generator, min(EACH, rows - start), dim, clusters)
    index = Index.create(path, dim=dim)
    index.add_vectors([f"{row:09}" for row in range(rows)], vectors)
    index.compact()
    if kind != "flat":
        index.build(kind, say=lambda line: printer().print(line))
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


async def ask(port: int, queries: list[str], clients: int) -> tuple[list[int], list[float]]:
    """Status and seconds of each query; each client has a connection of its own, open before the clock starts."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    statuses: list[int] = []
    seconds: list[float] = []

    async def client(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for id in queries[number::clients]:
            began = time.perf_counter()
            writer.write(f"GET /api/search?id={id}&k=10 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            seconds.append(time.perf_counter() - began)
            statuses.append(int(head.split()[1]))
        writer.close()

    await asyncio.gather(*(client(number, *each) for number, each in enumerate(opened)))
    return statuses, seconds


if __name__ == "__main__":
    main()
