"""The approximate kinds: what faiss builds of each, what it takes, and which one suits a collection.

All work on Euclidean distance: of vectors of unit length it orders as the cosine does. What a kind finds is ranked by
the exact similarity, so that a kind can miss a neighbour, and never gives one a wrong similarity.

    KINDS["ivf"].factory(rows=1_000_000, dim=64)                  # "IVF4000,Flat"
    choose(rows=1_000_000, dim=64, memory=2 << 30).reason
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from probe.errors import UsageError

KindName = Literal["flat", "ivf", "ivfpq", "hnsw", "rabitq"]
ApproximateName = Literal["ivf", "ivfpq", "hnsw", "rabitq"]

FEW = 200_000  # rows that are searched exactly in some milliseconds
LEAST = 10_000  # rows of which faiss learns a structure
LINKS = 32  # of a node of the graph, on each side
GRAPH = 2_000_000  # rows above which a graph takes hours to build
FREE = 0.5  # of the memory that is free


@dataclass(frozen=True)
class ApproximateKind:
    name: ApproximateName
    title: str
    reranked: int
    """Candidates whose exact similarities are computed, for each hit that is asked for."""
    code: str
    """Of faiss's factory, behind the inverted lists; empty for the graph."""

    def factory(self, rows: int, dim: int) -> str:
        """What faiss's factory makes of it."""
        if not self.code:
            return f"HNSW{LINKS},Flat"
        return f"IVF{lists(rows)},{self.code.format(pieces=pieces(dim))}"

    def bytes_per_row(self, dim: int) -> int:
        """That it takes in memory."""
        number = 8
        return {
            "ivf": 4 * dim + number,
            "hnsw": 4 * dim + 4 * 2 * LINKS + number,
            "ivfpq": pieces(dim) + number,
            "rabitq": math.ceil(dim / 8) + 8 + number,
        }[self.name]

    def efforts(self, rows: int) -> list[int]:
        """From little to all that it can do."""
        if not self.code:
            return [16 << step for step in range(8)]
        most = lists(rows)
        return [*(1 << step for step in range(most.bit_length()) if 1 << step < most), most]


KINDS: dict[ApproximateName, ApproximateKind] = {
    kind.name: kind
    for kind in (
        ApproximateKind("ivf", "inverted lists of whole vectors", 2, "Flat"),
        ApproximateKind("ivfpq", "inverted lists of product-quantised vectors", 10, "PQ{pieces}x8"),
        ApproximateKind("hnsw", "a graph of neighbours", 2, ""),
        ApproximateKind("rabitq", "inverted lists of one bit a dimension", 20, "RaBitQ"),
    )
}

PREFERRED: tuple[ApproximateName, ...] = ("hnsw", "ivf", "ivfpq", "rabitq")
"""From the fastest to the smallest."""


@dataclass(frozen=True)
class Choice:
    kind: KindName
    reason: str


def lists(rows: int) -> int:
    """Inverted lists: as many as balance finding the lists with reading them, and as there is training data for."""
    return max(1, min(int(4 * math.sqrt(rows)), rows // 39))


def pieces(dim: int) -> int:
    """Of a product-quantised vector: one of 2 dimensions, or of the least that divides them all."""
    return next(dim // width for width in range(2, dim + 1) if dim % width == 0) if dim > 1 else 1


def choose(rows: int, dim: int, memory: int) -> Choice:
    """By size and memory in bytes. Whatever is chosen is then tuned to the recall that is wanted."""
    if rows <= FEW:
        return Choice("flat", f"{rows:,} rows are searched exactly in milliseconds")
    passed = "" if rows <= GRAPH else f"; a graph of {rows:,} rows takes hours to build"
    for name in PREFERRED if rows <= GRAPH else PREFERRED[1:]:
        size = rows * KINDS[name].bytes_per_row(dim)
        if size <= memory:
            return Choice(name, f"{KINDS[name].title}, {_gb(size)} of the {_gb(memory)} allowed{passed}")
        passed += f"; {name} would take {_gb(size)}"
    return Choice("flat", f"no structure fits into {_gb(memory)}{passed}")


def parse_bytes(text: str) -> int:
    """`2GB`, `500 MB`. Raises UsageError for anything else."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    try:
        found = int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise UsageError(f"'{text}' is no amount of memory; write one such as 2GB or 500MB.") from error
    if found <= 0:
        raise UsageError(f"'{text}' is no memory; write an amount such as 2GB.")
    return found


def require_kind(name: str) -> None:
    known = (*get_args(KindName), "auto")
    if name not in known:
        raise UsageError(f"there is no kind '{name}' of index; known: {', '.join(known)}.")


def _gb(count: float) -> str:
    return f"{count / 1e9:.2g} GB"
