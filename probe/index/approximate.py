"""Approximate search of a segment by faiss: how its structure is built, tuned, measured, and asked.

record = build(segment, KINDS["ivf"], folder, "000001.000002", wanted=0.95, distance="cosine", say=print)
record.recall, record.queries_per_second       # against the exact answer, on held-out queries
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from probe.errors import UsageError
from probe.index.files import write_by
from probe.index.flat import candidates, search_segment
from probe.index.kinds import KINDS, LEAST, ApproximateKind, lists
from probe.index.manifest import ApproximateRecord
from probe.index.segment import Segment
from probe.search import Distance, Vectors, paired_similarities

READ = 65_536  # rows added at once
HELD_OUT = 200  # rows that are queries of the measurement, and no training data
MEASURED = 10  # recall of so many neighbours
EACH_LIST = 64  # training rows for each inverted list
SAMPLED = 20_000  # of which at least
SPARE = 10  # candidates for rounding, as faiss compares in float32


def build(
    segment: Segment,
    kind: ApproximateKind,
    folder: Path,
    name: str,
    wanted: float,
    distance: Distance,
    say: Callable[[str], None],
) -> ApproximateRecord:
    """Builds the structure of a segment without removed rows, writes it, and measures it.

    It is tuned to the least effort of which the recall is what is wanted, or to the greatest. Raises UsageError for too
    few rows, and without faiss.
    """
    if len(segment) < LEAST:
        raise UsageError(f"there are {len(segment):,} rows, and {kind.name} is made of {LEAST:,} or more; take flat.")
    chance = np.random.default_rng(0)
    held_out = np.sort(chance.choice(len(segment), HELD_OUT, replace=False))
    structure = _structure(segment, kind, held_out, chance, distance, say)
    digest = write_by(folder / f"{name}.faiss", lambda write: _write(structure, write))
    queries = segment.vectors[held_out].astype(np.float32)
    themselves = np.stack([np.arange(HELD_OUT), held_out], axis=1)
    exact = search_segment(queries, segment, None, MEASURED, themselves, distance)
    for effort in kind.efforts(len(segment)):
        started = time.perf_counter()
        found = ask(queries, segment, structure, kind, effort, MEASURED, themselves, distance)
        seconds = time.perf_counter() - started
        recall = found.join(exact, on=["query", "row"], how="semi").height / exact.height
        if recall >= wanted:
            break
    say(f"{kind.name}: recall@{MEASURED} {recall:.3f}, {HELD_OUT / seconds:,.0f} queries/s at effort {effort}")
    return ApproximateRecord(
        name=name,
        digest=digest,
        kind=kind.name,
        effort=effort,
        wanted=wanted,
        recall=recall,
        queries=HELD_OUT,
        queries_per_second=HELD_OUT / seconds,
        threads=_faiss().omp_get_max_threads(),
        bytes=(folder / f"{name}.faiss").stat().st_size,
    )


def find_in(queries: np.ndarray, segment: Segment, k: int, excluded: np.ndarray, distance: Distance) -> pl.DataFrame:
    """The candidates of each query (Q, d) among the rows that are there, by the segment's structure; `excluded` (P, 2).

    Similarities are exact.
    """
    record = segment.record.approximate
    assert record is not None
    return ask(queries, segment, segment.structure(_read), KINDS[record.kind], record.effort, k, excluded, distance)


def ask(
    queries: np.ndarray,
    segment: Segment,
    structure: Any,
    kind: ApproximateKind,
    effort: int,
    k: int,
    excluded: np.ndarray,
    distance: Distance,
) -> pl.DataFrame:
    """As `find_in`, by this structure with this effort."""
    faiss = _faiss()
    most_excluded = int(np.bincount(excluded[:, 0]).max()) if len(excluded) else 0
    count = min(k * kind.reranked + most_excluded + SPARE, len(segment))
    options: dict[str, Any] = {}
    if segment.record.removed:
        bits = np.packbits(segment.live, bitorder="little")
        options["sel"] = faiss.IDSelectorBitmap(bits)
    if kind.code:
        parameters = faiss.SearchParametersIVF(nprobe=effort, **options)
    else:
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, count), **options)
    _, rows = structure.search(_prepared(queries, distance), count, params=parameters)
    query, place = np.nonzero(rows >= 0)
    row = rows[query, place].astype(np.int64)
    left_out = np.isin(query * len(segment) + row, excluded[:, 0] * len(segment) + excluded[:, 1])
    query, row = query[~left_out], row[~left_out]
    order = np.argsort(row, kind="stable")  # as they lie on disk
    query, row = query[order], row[order]
    similarities = paired_similarities(Vectors(queries, query), Vectors(segment.vectors, row), distance)
    return candidates(segment, query, row, similarities, k)


def _structure(
    segment: Segment,
    kind: ApproximateKind,
    held_out: np.ndarray,
    chance: np.random.Generator,
    distance: Distance,
    say: Callable[[str], None],
) -> Any:
    faiss = _faiss()
    rows, dim = segment.vectors.shape
    structure = faiss.index_factory(dim, kind.factory(rows, dim), faiss.METRIC_L2)
    if kind.code:
        others = np.setdiff1d(np.arange(rows), held_out, assume_unique=True)
        size = min(len(others), max(SAMPLED, EACH_LIST * lists(rows)))
        sample = np.sort(chance.choice(others, size, replace=False))
        say(f"{kind.name}: learning {lists(rows):,} lists from {size:,} rows")
        structure.train(_prepared(segment.vectors[sample], distance))
    say(f"{kind.name}: adding {rows:,} rows")
    for start in range(0, rows, READ):
        structure.add(_prepared(segment.vectors[start : start + READ], distance))
    return structure


def _prepared(vectors: np.ndarray, distance: Distance) -> np.ndarray:
    """(n, d) float32, of length 1 where only directions are compared."""
    vectors = vectors.astype(np.float32)
    if distance == "cosine":
        vectors = torch.nn.functional.normalize(torch.from_numpy(vectors).double(), dim=1).float().numpy()
    return vectors


def _write(structure: Any, write: Callable[[bytes], int]) -> None:
    faiss = _faiss()
    faiss.write_index(structure, faiss.PyCallbackIOWriter(write))


def _read(read: Callable[[int], bytes]) -> Any:
    faiss = _faiss()
    return faiss.read_index(faiss.PyCallbackIOReader(read))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UsageError("approximate kinds are faiss's; install 'probe[faiss]', or search exactly.") from error
    return faiss
