"""Equal vectors of an index, of which only the first few can be among anyone's k best, as ties go to the earlier row.

kept = without_late_copies(index, copies=6)  # a collapsed index of a million vectors shrinks to six
"""

import numpy as np
import torch

from probe.search.vectors import Vectors

READ = 16_384


def without_late_copies(index: Vectors, copies: int) -> np.ndarray:
    """The rows, in order, that have fewer than `copies` equals, bit by bit, in front of them."""
    hashes = np.concatenate([_hashes(index.block(start, start + READ)).numpy() for start in range(0, len(index), READ)])
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(hashes[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    run = np.repeat(np.arange(len(starts)), lengths)
    in_long_run = (lengths > copies)[run]
    rows, first = order[in_long_run], order[starts[run[in_long_run]]]
    differs = np.zeros(len(starts), bool)  # a run of one hash that holds unequal vectors is kept
    for start in range(0, len(rows), READ):
        one, other = (index.take(each[start : start + READ]).block(0, READ) for each in (rows, first))
        unequal = (one != other).any(dim=1).cpu().numpy()
        differs[run[in_long_run][start : start + READ][unequal]] = True
    late = (np.arange(len(order)) - starts[run] >= copies) & in_long_run & ~differs[run]
    return np.sort(order[~late])


def _hashes(vectors: torch.Tensor) -> torch.Tensor:
    """(N, D) -> (N,) int64; equal vectors have equal hashes, zeros of either sign too."""
    vectors = (vectors + 0.0).cpu().contiguous()
    bits = vectors.view(torch.int64 if vectors.dtype == torch.float64 else torch.int32).long()
    bits = (bits ^ (bits >> 15)) * -7046029254386353131
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**63), 2**63 - 1, (bits.shape[1],), generator=generator) | 1
    return ((bits ^ (bits >> 32)) * odd).sum(1)
