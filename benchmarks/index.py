"""An index of many random vectors: how long it takes to build, open and search, in what memory, and with which recall.

    python -m benchmarks.index --rows 1000000 --dim 64 --kinds flat ivf ivfpq rabitq --folder /tmp/index

Random directions are the hardest case for an approximate structure: nothing is near anything. Each step is a process of
its own, whose peak memory is the resident one, files that are mapped included.
"""

import argparse
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from probe.index import Index

BLOCK = 1_000_000
SINGLE = 20  # queries, one after the other
BATCH = 200  # queries at once


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--kinds", nargs="+", default=["flat"])
    parser.add_argument("--recall", type=float, default=0.9)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    path = asked.folder / "random.index"
    shutil.rmtree(path, ignore_errors=True)
    print(f"{asked.rows:,} x {asked.dim}: ", end="")
    print(alone(add, path, asked.rows, asked.dim), flush=True)
    for kind in asked.kinds:
        print(f"{kind}: {alone(build, path, kind, asked.recall)}", flush=True)
        print(f"{kind}: {alone(search, path)}", flush=True)


def add(path: Path, rows: int, dim: int) -> str:
    chance, index = np.random.default_rng(0), Index.create(path, dim=dim)
    started = time.perf_counter()
    for start in range(0, rows, BLOCK):
        stop = min(rows, start + BLOCK)
        vectors = chance.standard_normal((stop - start, dim), np.float32)
        index.add_vectors([f"{number:09}" for number in range(start, stop)], vectors)
    size = sum(file.stat().st_size for file in path.iterdir())
    return f"added in {time.perf_counter() - started:.0f} s, {size / 1e9:.2f} GB on disk"


def build(path: Path, kind: Any, recall: float) -> str:
    started = time.perf_counter()
    index = Index.open(path)
    index.build(kind, recall=recall)
    record = index.manifest.segments[0].approximate
    told = f", recall@10 {record.recall:.3f} at effort {record.effort}, {record.bytes / 1e9:.2f} GB" if record else ""
    return f"built in {time.perf_counter() - started:.0f} s{told}"


def search(path: Path) -> str:
    queries = np.random.default_rng(1).standard_normal((BATCH, Index.open(path).manifest.dim), np.float32)
    started = time.perf_counter()
    index = Index.open(path)
    opened = time.perf_counter() - started
    started = time.perf_counter()
    index.search(queries[:1], 10)
    first = time.perf_counter() - started
    each = []
    for query in queries[:SINGLE]:
        started = time.perf_counter()
        index.search(query, 10)
        each.append(time.perf_counter() - started)
    started = time.perf_counter()
    index.search(queries, 10)
    batch = time.perf_counter() - started
    return (
        f"opened in {opened * 1e3:.0f} ms, the first query in {first:.2f} s, then {np.median(each) * 1e3:.1f} ms each, "
        f"{BATCH / batch:,.0f} queries/s in a batch of {BATCH}"
    )


def alone(work: Callable[..., str], *given: Any) -> str:
    """What it says, and the peak memory of its process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (work, *given))


def _measured(work: Callable[..., str], *given: Any) -> str:
    said = work(*given)
    return f"{said}; at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"


if __name__ == "__main__":
    main()
