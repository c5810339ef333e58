"""mAP@k: (1 / min(n, k)) sum over j <= k of P(j) rel(j), P(j) the precision of the first j results.

The sum goes to k, as in UnED's code (arXiv:2309.01858); its eq. S2 prints min(n, k).
"""

import numpy as np

from probe.metrics.metric import METRIC_KINDS, MetricAtK, ratio

BLOCK = 16384  # queries at a time


@METRIC_KINDS.register
class AveragePrecision(MetricAtK):
    form = "mAP@k"
    has_official = True

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        return ratio(_sums(hits[:, : self.k]), np.minimum(n, self.k))

    def official(self, hits: np.ndarray, n: np.ndarray, drop: int) -> np.ndarray:
        """Of the k rows after the dropped one."""
        return ratio(_sums(hits[:, drop : self.k + drop]), np.minimum(n - drop, self.k))


def precisions(hits: np.ndarray) -> np.ndarray:
    """(Q, k) bool -> (Q, k) float64: P(j) rel(j)."""
    return hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1) * hits


def _sums(hits: np.ndarray) -> np.ndarray:
    """(Q, k) -> (Q,): the sum of P(j) over the relevant results j."""
    blocks = [precisions(hits[start : start + BLOCK]).sum(axis=1) for start in range(0, len(hits), BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty(0)
