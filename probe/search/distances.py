"""The distances of a search: exact in float64, proposed by a matrix product, and how far rounding parts the two.

A proposal is the product of a query's row and an index row. It orders the index as the exact similarity does, up to
`error`, a bound that holds whatever the order in which the product sums. Exact similarities are the same bits on any
device and in any batch, as products are summed by halves, pair by pair.

    space = CosineSpace(queries, index, device)
    proposals = space.query_rows(q, torch.float32) @ space.index_rows(x, torch.float32).T
"""

import math
from typing import Literal

import numpy as np
import torch

from probe.errors import ProbeError
from probe.search.vectors import UNIT, Vectors

READ = 65_536  # rows read at once
LARGEST = 1e150  # its square, times a dimension, is a float64


class CosineSpace:
    """The cosine of the angle. No vector may be zero or not finite; of the index, that is found when it is read."""

    def __init__(self, queries: Vectors, index: Vectors, device: torch.device) -> None:
        self.dim, self._index, self._device = index.dim, index, device
        self.as_they_are = index.unit
        """Whether float32 proposes by the index's own rows."""
        _refuse("query", queries, device, zero=True)

    def refuse_index(self) -> None:
        """Raises ProbeError where an index row is zero or not finite."""
        _refuse("index", self._index, self._device, zero=True)

    def index_rows(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(N, D) -> (N, D), of length 1."""
        vectors = _scaled(vectors)
        return vectors.div_(torch.linalg.vector_norm(vectors, dim=1, keepdim=True)).to(dtype)

    def query_rows(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return self.index_rows(vectors, dtype)

    def error(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(Q, D) -> (Q,) float64: by Cauchy-Schwarz a sum of D products errs by D roundings of 1, its factors by 2, and
        an index row of another length than 1 by the difference."""
        length = UNIT if self.as_they_are and dtype == torch.float32 else 0.0
        bound = 1.01 * ((self.dim + 8) * (_rounding(dtype) + _rounding(torch.float64)) + length)
        return vectors.new_full((len(vectors),), bound, dtype=torch.float64)

    def proposal(self, similarities: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """What an exact similarity (Q,) to these queries is proposed as, up to `error`."""
        return similarities

    @classmethod
    def exact(cls, queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(P, D), (P, D) -> (P,) float64."""
        return cls.similarity(cls.prepared(queries), cls.prepared(vectors))

    @staticmethod
    def prepared(vectors: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, D + 1) float64: what `similarity` takes; the last column is the length."""
        vectors = _scaled(vectors)
        return torch.cat([vectors, _root(_sum_by_halves(vectors * vectors))[:, None]], dim=1)

    @staticmethod
    def similarity(queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(P, D + 1), (P, D + 1) -> (P,)."""
        products = queries * vectors
        return _sum_by_halves(products[:, :-1]) / products[:, -1]


class EuclideanSpace:
    """Minus the Euclidean distance. No vector may be other than finite.

    -|q - x|^2 / 2 + |q - c|^2 / 2 = (q - c)(x - c) - |x - c|^2 / 2 is what is proposed: the nearer the centre c is to
    the data, the smaller the terms and their rounding. The last term is a column of its own in the index rows.
    """

    def __init__(self, queries: Vectors, index: Vectors, device: torch.device) -> None:
        self.dim, self._index, self._device = index.dim, index, device
        self.as_they_are = False
        _refuse("query", queries, device, zero=False)
        self.refuse_index()
        spread = [index.block(start, start + 64) for start in range(0, len(index), max(64, len(index) // 64))]
        self.centre = torch.cat(spread).to(device).double().mean(0) if spread else torch.zeros(self.dim, device=device)
        self.scale, radii = 1.0, []
        for vectors in (queries, index):
            blocks = (vectors.block(start, start + READ).to(device) for start in range(0, len(vectors), READ))
            radii.append(max((float(self._centred(block).norm(dim=1).max()) for block in blocks), default=0.0))
        if max(radii) > 0:  # by a power of two, so that no product over- or underflows
            self.scale = 2.0 ** min(1000, -math.frexp(max(radii))[1])
        self.radius = radii[1] * self.scale

    def refuse_index(self) -> None:
        """Raises ProbeError where an index row is not finite, or too large."""
        _refuse("index", self._index, self._device, zero=False)

    def index_rows(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(N, D) -> (N, D + 1)."""
        vectors = self._centred(vectors)
        return torch.cat([vectors, vectors.square().sum(1, keepdim=True) / -2], dim=1).to(dtype)

    def query_rows(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(Q, D) -> (Q, D + 1)."""
        vectors = self._centred(vectors)
        return torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1).to(dtype)

    def error(self, vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(Q, D) -> (Q,) float64; the exact distances round too."""
        lengths = self._centred(vectors).norm(dim=1)
        terms = lengths * self.radius + self.radius**2
        exact = (lengths + self.radius).square() * _rounding(torch.float64)
        return 1.01 * (self.dim + 8) * (terms * _rounding(dtype) + 2 * exact) + 1e-36

    def proposal(self, similarities: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """What an exact similarity (Q,) to these queries is proposed as, up to `error`."""
        return (self._centred(vectors).square().sum(1) - (similarities * self.scale).square()) / 2

    @classmethod
    def exact(cls, queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(P, D), (P, D) -> (P,) float64."""
        return cls.similarity(cls.prepared(queries), cls.prepared(vectors))

    @staticmethod
    def prepared(vectors: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, D) float64: what `similarity` takes."""
        return vectors.double()

    @staticmethod
    def similarity(queries: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(P, D), (P, D) -> (P,)."""
        return -_root(_sum_by_halves((queries - vectors).square_()))

    def _centred(self, vectors: torch.Tensor) -> torch.Tensor:
        return (vectors.double() - self.centre) * self.scale


Distance = Literal["cosine", "euclidean"]
DISTANCES: dict[Distance, type[CosineSpace] | type[EuclideanSpace]] = {
    "cosine": CosineSpace,
    "euclidean": EuclideanSpace,
}


def _rounding(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2


def _scaled(vectors: torch.Tensor) -> torch.Tensor:
    """A float64 copy; what came as float64 is brought near 1 by a power of two, lest a square over- or underflows."""
    if vectors.dtype != torch.float64:
        return vectors.double()
    exponents = torch.frexp(vectors.abs().amax(dim=1, keepdim=True)).exponent.clamp(-1000, 1000)
    return vectors * torch.exp2(-exponents.double())


def _sum_by_halves(terms: torch.Tensor) -> torch.Tensor:
    """(P, D) -> (P,): one half is added to the other until one column is left; overwrites `terms`."""
    while (width := terms.shape[1]) > 1:
        half = (width + 1) // 2
        terms[:, : width - half] += terms[:, half:width]
        terms = terms[:, :half]
    return terms[:, 0]


def _root(squares: torch.Tensor) -> torch.Tensor:
    """Rounded correctly, as numpy and CUDA do; torch's on a CPU can be a bit off, and not for all by the same bit."""
    return squares.sqrt() if squares.is_cuda else torch.from_numpy(np.sqrt(squares.numpy()))


def _refuse(role: str, vectors: Vectors, device: torch.device, *, zero: bool) -> None:
    """Raises ProbeError that counts the vectors that cannot be compared, and names the first."""
    bad, first = 0, 0
    for start in range(0, len(vectors), READ):
        largest = torch.linalg.vector_norm(vectors.block(start, start + READ).to(device), torch.inf, dim=1)
        rows = (~(largest > 0) | ~largest.isfinite() if zero else ~(largest < LARGEST)).nonzero()[:, 0]
        if len(rows):
            first = first if bad else start + int(rows[0])
            bad += len(rows)
    if bad and zero:
        raise ProbeError(
            f"{bad:,} {role} embedding(s) are zero or not finite, the first in row {first}; "
            "such vectors have no direction to compare."
        )
    if bad:
        raise ProbeError(
            f"{bad:,} {role} embedding(s) are not finite, or beyond {LARGEST:g}, the first in row {first}; "
            "such vectors have no distance to compare."
        )
