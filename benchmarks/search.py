"""Exact search: queries a second against blocked torch, faiss and scikit-learn, the share of the machine's float32
matrix products, memory in a process of its own, and the cost of more rows and dimensions.

python -m benchmarks.search --queries 4096 --index 1397126 --dim 64 --rounds 3
python -m benchmarks.search --full 101     # UnED's test set in size, end to end
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import faiss
import numpy as np
import torch
from rich.table import Table
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from benchmarks.pairs import Comparison, report
from benchmarks.store import timed
from probe.search import BLOCKS, search
from probe.terminal import printer

UNED = 241_986, 1_397_126, 64
NONE = np.zeros((0, 2), np.int64)
SCIKIT_LEARN_QUERIES = 256
PRODUCTS = replace(BLOCKS["cpu"], compiled=2**62)
TORCH_BLOCKS = ((256, 16_384), (1024, 16_384), (512, 65_536), (1024, 4096))
Search = Callable[[torch.Tensor, int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--index", type=int, default=UNED[1])
    parser.add_argument("--dim", type=int, default=UNED[2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", type=int, metavar="K", help="only search all of UnED's queries for K neighbours")
    parser.add_argument("--one", choices=("none", "probe", "blocked torch", "faiss"), help="only this; prints JSON")
    parser.add_argument("--k", type=int, nargs="+", default=[6, 101])
    parser.add_argument("--only", choices=("peers", "memory", "scaling"))
    options = parser.parse_args()
    size = options.queries, options.index, options.dim
    if options.full:
        full(options.full)
    elif options.one:
        alone(options.one, *size, options.k[0])
    else:
        if options.only in (None, "peers"):
            against_peers(*size, options.k, options.rounds)
        if options.only in (None, "memory"):
            memory(*size)
        if options.only in (None, "scaling"):
            scaling(options.queries, options.rounds)


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


def blocked_torch(index: torch.Tensor, rows: int, columns: int) -> Search:
    """Products of blocks and their top k, merged; the buffers are made once."""

    @torch.inference_mode()
    def run(queries: torch.Tensor, k: int) -> torch.Tensor:
        buffer, found = torch.empty(rows * columns), []
        for part in queries.split(rows):
            values, at = torch.empty(len(part), 0), torch.empty(len(part), 0, dtype=torch.int64)
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


def against_peers(count: int, length: int, dim: int, depths: list[int], rounds: int) -> None:
    queries, index, _ = vectors(count, length, dim)
    few = queries[:SCIKIT_LEARN_QUERIES]
    brute = NearestNeighbors(metric="euclidean", algorithm="brute").fit(index.numpy())
    probe, faiss_flat = ours(index), flat(index)
    comparisons, lines = [], []
    for k in depths:
        blocks = best_blocks(queries, index, k)
        torch_blocks = blocked_torch(index, *blocks)
        peers = [
            (f"blocked torch {blocks[0]} x {blocks[1]}", lambda run=torch_blocks, k=k: run(queries, k), 1, 2.5),
            ("faiss IndexFlatIP", lambda k=k: faiss_flat(queries, k), 1, None),
            ("itself by matrix products", lambda k=k: search(queries, index, k, NONE, blocks=PRODUCTS), 1, None),
            (
                f"scikit-learn, {len(few)} queries, scaled",
                lambda k=k: brute.kneighbors(few.numpy(), k),
                count / len(few),
                None,
            ),
        ]
        mine, theirs, shares = [], {name: [] for name, *_ in peers}, []
        for _ in range(rounds):  # interleaved, and the machine's rate beside each
            before = peak_rate()
            mine.append(timed(lambda k=k: probe(queries, k)))
            shares.append(count * length * dim / mine[-1] / max(before, peak_rate()))
            for name, run, factor, _ in peers:
                theirs[name].append(timed(run) * factor)
        for name, _, _, target in peers:
            comparisons.append(Comparison(f"k = {k}", name, mine, theirs[name], target))
        share = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        lines.append(f"k = {k}: {count / statistics.median(mine):,.0f} queries a second, {share} of the peak")
    report(f"{count:,} queries, index {length:,} x {dim}, {torch.get_num_threads()} thread(s)", comparisons)
    printer().print("\n".join(lines))


def alone(name: str, count: int, length: int, dim: int, k: int) -> None:
    queries, index, _ = vectors(count, length, dim)
    before = peak_bytes()
    if name == "probe":
        seconds = timed(lambda: ours(index)(queries, k))
    elif name == "blocked torch":
        seconds = timed(lambda: blocked_torch(index, *TORCH_BLOCKS[0])(queries, k))
    else:
        seconds = timed(lambda: flat(index)(queries, k)) if name == "faiss" else 0.0
    print(json.dumps({"seconds": seconds, "before": before, "peak": peak_bytes()}))


def in_its_own_process(name: str, count: int, length: int, dim: int, k: int) -> dict[str, float]:
    size = ["--queries", str(count), "--index", str(length), "--dim", str(dim), "--k", str(k)]
    command = [sys.executable, "-m", "benchmarks.search", "--one", name, *size]
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


def scaling(count: int, rounds: int) -> None:
    table = Table(title=f"k = 6, {count:,} queries")
    for column in ("index", "dimension", "queries a second", "share of the peak"):
        table.add_column(column, justify="right")
    for length, dim in ((10_000, 64), (100_000, 64), (1_000_000, 64), (100_000, 128), (100_000, 384), (100_000, 1152)):
        queries, index, _ = vectors(min(count, length), length, dim)
        rate = peak_rate()
        seconds = statistics.median(timed(lambda q=queries, x=index: ours(x)(q, 6)) for _ in range(rounds))
        share = len(queries) * length * dim / seconds / max(rate, peak_rate())
        table.add_row(f"{length:,}", str(dim), f"{len(queries) / seconds:,.0f}", f"{share:.2f}")
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
