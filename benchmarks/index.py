"""An index of many random vectors: how long it takes to build, open and search, in what memory, and with which recall.

    python -m benchmarks.index --rows 1000000 --dim 64 --kinds flat ivf ivfpq rabitq --clusters 20000 --folder FOLDER

Random directions are the hardest case for an approximate structure: nothing is near anything. With `--clusters` rows
and queries lie around so many random directions, as images of a class do. Each step is a process of its own, whose peak
memory is the resident one, files that are mapped included; `private`, without them. CPU seconds do not depend on what
else the machine does.
"""

import argparse
import multiprocessing
import re
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from probe.index import Index, near_pairs

BLOCK = 1 << 20
SINGLE = 20  # queries, one after the other
BATCH = 200  # queries at once
BATCHES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--kinds", nargs="+", default=["flat"])
    parser.add_argument("--recall", type=float, default=0.9)
    parser.add_argument("--clusters", type=int, default=0, help="around so many directions; 0 for none")
    parser.add_argument("--duplicates", type=float, help="find near-duplicates of this cosine or more")
    parser.add_argument("--folder", type=Path, help="where to make it; by default that of temporary files")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(Path(folder) / "random.index", asked)


def measure(path: Path, asked: argparse.Namespace) -> None:
    around = f"around {asked.clusters:,} directions" if asked.clusters else "random"
    print(f"{asked.rows:,} x {asked.dim}, {around}: ", end="")
    print(alone(add, path, asked.rows, asked.dim, asked.clusters), flush=True)
    if asked.duplicates:
        print(f"duplicates: {alone(duplicates, path, asked.duplicates)}", flush=True)
    for kind in asked.kinds:
        print(f"{kind}: {alone(build, path, kind, asked.recall)}", flush=True)
        print(f"{kind}: {alone(search, path, asked.clusters)}", flush=True)


def made(chance: np.random.Generator, rows: int, dim: int, clusters: int) -> np.ndarray:
    """(rows, dim) float32, of unit length; before that, a row lies half as far from its direction as that is long."""
    vectors = chance.standard_normal((rows, dim), np.float32)
    if clusters:
        directions = np.random.default_rng(2).standard_normal((clusters, dim), np.float32)
        vectors = directions[chance.integers(0, clusters, rows)] + np.float32(0.5) * vectors
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add(path: Path, rows: int, dim: int, clusters: int) -> str:
    chance, index = np.random.default_rng(0), Index.create(path, dim=dim)
    clock = Clock()
    for start in range(0, rows, BLOCK):
        stop = min(rows, start + BLOCK)
        vectors = made(chance, stop - start, dim, clusters)
        index.add_vectors([f"{number:09}" for number in range(start, stop)], vectors)
    size = sum(file.stat().st_size for file in path.iterdir())
    return f"added in {clock}, {size / 1e9:.2f} GB on disk"


def build(path: Path, kind: Any, recall: float) -> str:
    clock = Clock()
    index = Index.open(path)
    index.build(kind, recall=recall)
    record = index.manifest.segments[0].approximate
    told = f", recall@10 {record.recall:.3f} at effort {record.effort}, {record.bytes / 1e9:.2f} GB" if record else ""
    return f"built in {clock}{told}"


def duplicates(path: Path, threshold: float) -> str:
    clock = Clock()
    found = near_pairs(Index.open(path), None, threshold)
    return f"{len(found.pairs):,} pairs in {clock}"


def search(path: Path, clusters: int) -> str:
    queries = made(np.random.default_rng(1), BATCH, Index.open(path).manifest.dim, clusters)
    clock = Clock()
    index = Index.open(path)
    index.search(queries[:1], 10)
    first = str(clock)
    one = [timed(lambda query=query: index.search(query, 10)) for query in queries[:SINGLE]]
    batch = [timed(lambda: index.search(queries, 10)) for _ in range(BATCHES)]
    (wall, cpu), (of_all, cpu_of_all) = np.median(one, axis=0), np.median(batch, axis=0)
    return (
        f"opened and searched once in {first}, then {wall * 1e3:.1f} ms a query ({cpu * 1e3:.1f} of CPU), of {BATCH} "
        f"at once {BATCH / of_all:,.0f} a second ({BATCH / cpu_of_all:,.0f} for each second of CPU)"
    )


class Clock:
    """Of the time since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds, and seconds of CPU."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu

    def __str__(self) -> str:
        wall, cpu = self.read()
        return f"{wall:.1f} s ({cpu:.1f} of CPU)"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    clock = Clock()
    work()
    return clock.read()


def alone(work: Callable[..., str], *given: Any) -> str:
    """What it says, and the peak memory of its process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (work, *given))


def _measured(work: Callable[..., str], *given: Any) -> str:
    said = work(*given)
    status = Path("/proc/self/status").read_text()
    private = int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1e6  # pyright: ignore[reportOptionalSubscript]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"{said}; at most {most:.2f} GB, {private:.2f} GB private at the end"


if __name__ == "__main__":
    main()
