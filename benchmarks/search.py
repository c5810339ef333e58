"""Exact search against blocked torch, faiss and scikit-learn, and the cost of more rows and dimensions.

make bench BENCH=search
python -m benchmarks.search memory         # peaks, each in a process of its own
python -m benchmarks.search full --k 101   # UnED's test set in size, end to end
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from rich.table import Table
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from benchmarks.pairs import OURS, compare_all, timed
from benchmarks.results import Cost, Figure, Result
from benchmarks.sections import Size
from probe.search import BLOCKS, search
from probe.terminal import printer

UNED = 241_986, 1_397_126, 64
NONE = np.zeros((0, 2), np.int64)
SOME, SMALL = (2048, 400_000, 64), (64, 4_000, 16)
TARGETS = {"blocked": 2.5, "faiss": 1.0}
PAGE = "evaluation.md#the-search"
SCIKIT_LEARN_QUERIES = 256
PRODUCTS = replace(BLOCKS["cpu"], compiled=2**62)
TORCH_BLOCKS = ((256, 16_384), (1024, 16_384), (512, 65_536), (1024, 4096))
Search = Callable[[torch.Tensor, int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "full", "one"))
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--index", type=int, default=UNED[1])
    parser.add_argument("--dim", type=int, default=UNED[2])
    parser.add_argument("--side", choices=("probe", "blocked torch", "faiss"), help="of `one`, which prints JSON")
    parser.add_argument("--k", type=int, default=6)
    options = parser.parse_args()
    size = options.queries, options.index, options.dim
    if options.what == "full":
        full(options.k)
    elif options.what == "one":
        alone(options.side, *size, options.k)
    else:
        memory(*size)


# ---- `make bench` ----


def measure(size: Size) -> Iterator[Result]:
    count, length, dim = SMALL if size.small else SOME
    queries, index, _ = vectors(count, length, dim)
    for k in (6, 101):
        yield from against_peers(queries, index, k, size.rounds)
    yield from costs(size.small)


def against_peers(queries: torch.Tensor, index: torch.Tensor, k: int, rounds: int) -> Iterator[Result]:
    from sklearn.neighbors import NearestNeighbors

    few = queries[:SCIKIT_LEARN_QUERIES]
    brute = NearestNeighbors(metric="euclidean", algorithm="brute").fit(index.numpy())
    blocks = best_blocks(queries, index, k)
    by_torch, by_faiss, by_probe = blocked_torch(index, *blocks), flat(index), ours(index)
    work = f"search, {len(index):,} x {index.shape[1]}, k = {k}"
    told = {"amount": len(queries), "unit": "queries", "page": PAGE}
    found = compare_all(
        work,
        lambda: by_probe(queries, k),
        {
            f"blocked torch {blocks[0]} x {blocks[1]}": lambda: by_torch(queries, k),
            "faiss IndexFlatIP": lambda: by_faiss(queries, k),
            "itself by matrix products": lambda: search(queries, index, k, NONE, blocks=PRODUCTS),
        },
        rounds=rounds,
        **told,
    )
    for each in found:
        yield each.model_copy(update={"target": TARGETS.get(each.against.split()[0])})
    told |= {"amount": len(few)}
    yield from compare_all(
        work,
        lambda: by_probe(few, k),
        {"scikit-learn": lambda: brute.kneighbors(few.numpy(), k)},
        rounds=rounds,
        **told,
    )
    products = len(queries) * len(index) * index.shape[1]
    share = products / statistics.median(found[0].ours) / peak_rate()
    yield Figure(what=f"k = {k}: share of the machine's float32 products at best", value=share, unit="")


def costs(small: bool) -> Iterator[Cost]:
    """Seconds of 1,024 queries as the index and the dimension grow."""
    lengths = [(10**e // (100 if small else 1), 64) for e in (4, 5, 6)]
    dims = [(1_000 if small else 100_000, dim) for dim in (64, 128, 384, 1152)]
    for axis, shapes in (("index rows", lengths), ("dimensions", dims)):
        for length, dim in shapes:
            queries, index, _ = vectors(64 if small else 1024, length, dim)
            for side, run in ((OURS, ours(index)), ("faiss", flat(index))):
                run(queries, 6)
                grown = length if axis == "index rows" else dim
                yield Cost(axis=axis, side=side, size=grown, seconds=timed(lambda run=run, q=queries: run(q, 6)))


def vectors(count: int, index: int, dim: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Queries that are rows of an index in the order of its clusters, and which row each query is."""
    generator = torch.Generator().manual_seed(0)
    clusters = torch.randint(0, max(1, index // 40), (index,), generator=generator).sort().values
    centres = torch.randn(int(clusters[-1]) + 1, dim, generator=generator)
    embeddings = torch.empty(index, dim)
    for rows in torch.arange(index).split(65_536):
        noise = torch.randn(len(rows), dim, generator=generator)
        embeddings[rows] = F.normalize(centres[clusters[rows]] + 0.7 * noise)
    chosen = torch.randperm(index, generator=generator)[:count].sort().values
    return embeddings[chosen], embeddings, np.stack([np.arange(count), chosen.numpy()], axis=1)


# ---- the sides ----


def blocked_torch(index: torch.Tensor, rows: int, columns: int) -> Search:
    """Products of blocks and their top k, merged; the buffers are made once."""

    @torch.inference_mode()
    def run(queries: torch.Tensor, k: int) -> torch.Tensor:
        buffer, found = torch.empty(rows * columns, device=index.device), []
        for part in queries.split(rows):
            values = torch.empty(len(part), 0, device=index.device)
            at = torch.empty(len(part), 0, dtype=torch.int64, device=index.device)
            for start in range(0, len(index), columns):
                block = index[start : start + columns]
                products = buffer[: len(part) * len(block)].view(len(part), -1)
                top = torch.mm(part, block.T, out=products).topk(k, dim=1)
                values, kept = torch.cat([values, top.values], dim=1).topk(k, dim=1)
                at = torch.cat([at, top.indices + start], dim=1).gather(1, kept)
            found.append(at)
        return torch.cat(found)

    return run


def flat(index: torch.Tensor) -> Search:
    import faiss

    found = faiss.IndexFlatIP(index.shape[1])
    found.add(index.numpy())  # pyright: ignore[reportCallIssue]
    return lambda queries, k: found.search(queries.numpy(), k)  # pyright: ignore[reportCallIssue]


def ours(index: torch.Tensor) -> Search:
    return lambda queries, k: search(queries, index, k, NONE)


def best_blocks(queries: torch.Tensor, index: torch.Tensor, k: int) -> tuple[int, int]:
    some = queries[:1024]
    seconds = {blocks: timed(lambda b=blocks: blocked_torch(index, *b)(some, k)) for blocks in TORCH_BLOCKS}
    return min(seconds, key=lambda blocks: seconds[blocks])


def peak_rate() -> float:
    """Multiply-adds a second of a large float32 matrix product, at best."""
    matrix = torch.randn(3072, 3072)
    out = torch.empty_like(matrix)
    return 3072**3 / min(timed(lambda: torch.mm(matrix, matrix, out=out)) for _ in range(4))


# ---- memory, and all of it ----


def alone(name: str, count: int, length: int, dim: int, k: int) -> None:
    queries, index, _ = vectors(count, length, dim)
    before = peak_bytes()
    if name == "probe":
        seconds = timed(lambda: ours(index)(queries, k))
    elif name == "blocked torch":
        seconds = timed(lambda: blocked_torch(index, *TORCH_BLOCKS[0])(queries, k))
    else:
        seconds = timed(lambda: flat(index)(queries, k))
    print(json.dumps({"seconds": seconds, "before": before, "peak": peak_bytes()}))


def in_its_own_process(name: str, count: int, length: int, dim: int, k: int) -> dict[str, float]:
    size = ["--queries", str(count), "--index", str(length), "--dim", str(dim), "--k", str(k)]
    command = [sys.executable, "-m", "benchmarks.search", "one", "--side", name, *size]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(count: int, length: int, dim: int) -> None:
    table = Table(title=f"peak memory, {count:,} queries, index {length:,} x {dim} of {4 * length * dim / 1e6:,.0f} MB")
    for column in ("search", "k", "peak", "above the same process without a search"):
        table.add_column(column, justify="right")
    for k in (6, 101):
        for name in ("probe", "blocked torch", "faiss"):
            found = in_its_own_process(name, count, length, dim, k)
            above = (found["peak"] - found["before"]) / 1e6
            table.add_row(name, str(k), f"{found['peak'] / 1e6:,.0f} MB", f"{above:,.0f} MB")
    printer().print(table)


def full(k: int) -> None:
    """Queries are rows of the index, each of which leaves itself out; prints as it goes."""
    queries, index, pairs = vectors(*UNED)
    before, start, rate, total = peak_bytes(), time.perf_counter(), peak_rate(), len(queries) * len(index)
    done = [0, 0]

    def advance(comparisons: int) -> None:
        done[0] += comparisons
        if done[0] * 100 // total > done[1]:
            done[1] = done[0] * 100 // total
            print(f"{done[1]} %, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)

    found = search(queries, index, k, pairs, "cosine", advance)
    seconds, processor = time.perf_counter() - start, time.process_time()
    print(
        f"{len(queries):,} x {len(index):,} x {index.shape[1]}, k = {k}: {seconds:,.0f} s ({processor:,.0f} s of "
        f"processor time with the making of the data), {len(queries) / seconds:,.0f} queries a second, "
        f"{total * index.shape[1] / seconds / rate:.2f} of the rate at the start; "
        f"peak {peak_bytes() / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before the search "
        f"(index {index.nbytes / 1e6:,.0f} MB, queries {queries.nbytes / 1e6:,.0f} MB), "
        f"result {(found.rows.nbytes + found.similarities.nbytes) / 1e6:,.0f} MB; load average and other "
        "processes of the machine are in these figures"
    )


if __name__ == "__main__":
    main()
