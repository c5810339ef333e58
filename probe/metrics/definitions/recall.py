"""R@k: whether any of the first k results is relevant (UnED, arXiv:2309.01858, eq. 1 for k = 1)."""

import numpy as np

from probe.metrics.metric import METRIC_KINDS, MetricAtK, where_findable


@METRIC_KINDS.register
class Recall(MetricAtK):
    form = "R@k"
    has_official = True

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        return where_findable(n, hits[:, : self.k].any(axis=1))

    def official(self, hits: np.ndarray, n: np.ndarray, drop: int) -> np.ndarray:
        """Of the k rows after the dropped one; the published code has k = 1 only."""
        return np.asarray(hits[:, drop : self.k + drop].any(axis=1), np.float64)
