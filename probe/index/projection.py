"""The last step of a head, fitted to the images of an index: the leading principal components of their wider vectors.

A wider vector, of unit length, is kept as float16: a multiple of 2^-24. A projection has rows of a length of 1 at most,
in multiples of 2^-26. So a sum of their products is exact in float64, in whatever order it is taken, and a row has the
same bits whenever, and beside whichever others, it is projected.

    record = write_projection(folder, "000003.projection", principal_components(blocks, 64), rows=12_000)
    Projection(folder, record).of(wider)      # (n, m) float16 -> (n, 64) float32 of unit length
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from probe.errors import UsageError
from probe.heads import covariance_of, fixed_signs
from probe.index.files import CheckedFile, npy_blocks, write_file
from probe.index.manifest import FitRecord

GRAIN = 2.0**26
NO_VARIANCE = 1e-10  # of the largest: rounding
ENOUGH = 8  # images for each dimension: below, the head's own step is better (docs/search.md)


class Projection:
    """Open. Raises FileNotFoundError for a file that is not there."""

    def __init__(self, folder: Path, record: FitRecord) -> None:
        self.record = record
        self._file = CheckedFile(folder / f"{record.name}.npy", record.digest)

    @cached_property
    def matrix(self) -> np.ndarray:
        """(d, m) float64."""
        return np.array(self._file.array())

    def of(self, wider: np.ndarray) -> np.ndarray:
        """(n, m) float16 -> (n, d) float32, of unit length. Raises UsageError where nothing is left of a vector."""
        return self.with_lengths(wider)[0]

    def with_lengths(self, wider: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `of`, and (n, 1) float64, what is left of the lengths of 1."""
        exact = wider.astype(np.float64) @ self.matrix.T
        lengths = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
        if not lengths.all():
            raise UsageError("nothing is left of a vector in the dimensions that the collection has; leave it out.")
        return (exact / lengths).astype(np.float32), lengths

    def check(self) -> None:
        self._file.check()


def write_projection(folder: Path, name: str, matrix: np.ndarray, rows: int) -> FitRecord:
    """`matrix`: (d, m) float64, of which only the directions of what it gives count; rows: that it was fitted to."""
    rounded = np.round(matrix / max(1.0, float(np.linalg.norm(matrix, axis=1).max())) * GRAIN) / GRAIN
    digest = write_file(folder / f"{name}.npy", npy_blocks(rounded.dtype, rounded.shape, [rounded]))
    return FitRecord(name=name, digest=digest, width=rounded.shape[1], rows=rows)


def principal_components(blocks: Iterable[np.ndarray], dim: int) -> np.ndarray:
    """The leading ones of (n, m) blocks of rows, (dim, m) float64. Raises UsageError where they span fewer."""
    covariance = covariance_of(torch.from_numpy(block.astype(np.float64)) for block in blocks)
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    spanned = int((values > values[-1] * NO_VARIANCE).sum())
    if spanned < dim:
        raise UsageError(f"the images of the index span {spanned} dimensions, fewer than the {dim} of its vectors.")
    return fixed_signs(vectors[:, -dim:].flip(1).T).numpy()
