"""UnED's test searched exactly (241,986 x 1,397,126 x 64); then some of its queries against torch in blocks, and faiss
where it is there for GPUs, in turn.

python -m benchmarks.sections benchmarks.gpu.search --device cuda
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.world import finish
from benchmarks.pairs import compare_all, timed
from benchmarks.results import Comparison, Figure, Result
from benchmarks.search import NONE, UNED, Search, blocked_torch, vectors
from benchmarks.sections import Size
from probe.search import search

GOAL = 10.0  # seconds
SMALL = 64, 3_000, 16
SOME = 32_768  # queries
BLOCKS = 4096, 131_072  # of torch: queries, rows


def measure(size: Size) -> Iterator[Result]:
    device = torch.device(size.device)
    count, length, dim = SMALL if size.small else UNED
    queries, index, pairs = vectors(count, length, dim)
    queries, index = queries.to(device), index.to(device)
    some = queries[:SOME]
    peers: dict[str, Search] = {f"blocked torch {BLOCKS[0]} x {BLOCKS[1]}": blocked_torch(index, *BLOCKS)}
    if flat := faiss_on_gpu(index):
        peers["faiss on the GPU"] = flat

    def finished(run: Callable[[], object]) -> Callable[[], None]:
        def and_wait() -> None:
            run()
            finish(device)

        return and_wait

    for k in (6, 101):
        search(some, index, k, NONE)  # the libraries load their kernels
        seconds = timed(finished(lambda k=k: search(queries, index, k, pairs)))
        work = f"search, {count:,} x {length:,} x {dim}, k = {k}, each query without itself"
        yield Comparison(work=work, against="", ours=[seconds], theirs=[], goal=GOAL, amount=count, unit="queries")
    for k in (6, 101):
        told = {"amount": len(some), "unit": "queries", "target": 2.5}
        yield from compare_all(
            f"search, {len(some):,} x {length:,} x {dim}, k = {k}",
            finished(lambda k=k: search(some, index, k, NONE)),
            {name: finished(lambda run=run, k=k: run(some, k)) for name, run in peers.items()},
            rounds=min(size.rounds, 3),
            **told,
        )
    by_torch = next(iter(peers.values()))
    found = search(some, index, 6, NONE).rows
    theirs: Any = by_torch(some, 6)
    yield Figure(what="neighbours that are torch's too", value=float(np.mean(found == theirs.cpu().numpy())), unit="")
    if device.type == "cuda":
        yield Figure(what="peak memory on the GPU", value=torch.cuda.max_memory_allocated() / 1e9, unit="GB")


def faiss_on_gpu(index: torch.Tensor) -> Search | None:
    """None where there is no faiss for GPUs."""
    try:
        import faiss
    except ImportError:
        return None
    if index.device.type != "cuda" or not hasattr(faiss, "StandardGpuResources"):
        return None
    found: Any = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), index.shape[1])  # pyright: ignore[reportAttributeAccessIssue]
    found.add(index.cpu().numpy())
    return lambda queries, k: found.search(queries.cpu().numpy(), k)
