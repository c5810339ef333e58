"""Rows of floats that lie anywhere: in a tensor, a numpy array or memory map, or an HDF5 dataset.

They are read a block of rows at a time; no copy of the whole is ever made.

    block = Vectors(h5py.File("features.h5")["features"], rows=np.array([2, 0])).block(0, 2)  # (2, D) float32
"""

from typing import Any

import numpy as np
import torch

from probe.errors import UsageError

UNIT = 2.0**-21  # how far from 1 a length may be, which is a few roundings of float32
GAP = 64  # rows of an HDF5 dataset at most this far apart are read as one span


class Vectors:
    """(N, D) floats: a torch tensor (on any device), numpy array or memory map, or h5py dataset.

    rows: which of them, in this order, as often as they are named; None is all. unit: that each is known to have a
    length of 1, to within UNIT, so that a search by cosine need not see to it. Raises UsageError for what is not a
    matrix of floating-point numbers, or for rows that are not in it.
    """

    def __init__(self, values: Any, rows: np.ndarray | None = None, unit: bool = False) -> None:
        shape = tuple(values.shape)
        is_float = values.is_floating_point() if isinstance(values, torch.Tensor) else values.dtype.kind == "f"
        if len(shape) != 2 or shape[1] == 0 or not is_float:
            raise UsageError(f"vectors are a matrix of floats, a row each, not {values.dtype} of shape {shape}.")
        if rows is not None and len(rows) and not (rows.min() >= 0 and rows.max() < shape[0]):
            raise UsageError(f"rows {rows.min()} to {rows.max()} are asked for of vectors that have {shape[0]:,}.")
        self.values, self.rows, self.unit = values, rows, unit
        self.dim: int = shape[1]

    def __len__(self) -> int:
        return len(self.values) if self.rows is None else len(self.rows)

    @property
    def device(self) -> torch.device:
        return self.values.device if isinstance(self.values, torch.Tensor) else torch.device("cpu")

    def block(self, start: int, stop: int) -> torch.Tensor:
        """(n, D) float32, or float64 where the values are: rows `start` to `stop`; maybe a view, not to be changed."""
        found: Any
        if self.rows is None:
            found = self.values[start:stop]
        elif isinstance(self.values, torch.Tensor):
            rows = torch.from_numpy(np.asarray(self.rows[start:stop], np.int64))
            found = self.values[rows.to(self.values.device)]
        elif isinstance(self.values, np.ndarray):
            found = self.values[self.rows[start:stop]]
        else:
            found = _read_spans(self.values, self.rows[start:stop])
        if not isinstance(found, torch.Tensor):
            dtype = np.float64 if found.dtype.itemsize == 8 else np.float32
            as_it_is = isinstance(found, np.ndarray) and found.flags.writeable  # PyTorch has no tensors of others
            found = torch.from_numpy((np.asarray if as_it_is else np.array)(found, dtype, order="C"))
        block: torch.Tensor = found.detach()
        return block if block.dtype == torch.float64 else block.float()

    def take(self, rows: np.ndarray) -> "Vectors":
        """The vectors in these positions."""
        return Vectors(self.values, rows if self.rows is None else self.rows[rows], self.unit)


def _read_spans(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of an HDF5 dataset in any order: what lies close together is read as one slice."""
    distinct, place = np.unique(rows, return_inverse=True)
    if not len(rows):
        return dataset[:0]
    spans = np.split(distinct, np.flatnonzero(np.diff(distinct) > GAP) + 1)
    return np.concatenate([dataset[span[0] : span[-1] + 1][span - span[0]] for span in spans])[place]
