"""mMP@k, the modified mean precision: (1 / m) sum over j <= m of rel(j), m = min(n, k) (UnED, arXiv:2309.01858, eq. 2).

The list is cut at m: two relevant images at ranks 4 and 5 count nothing when n = 2.
"""

import numpy as np

from probe.metrics.metric import METRIC_KINDS, MetricAtK, first, ratio


@METRIC_KINDS.register
class ModifiedPrecision(MetricAtK):
    form = "mMP@k"
    has_official = True

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        return ratio(first(n, hits[:, : self.k]).sum(axis=1), np.minimum(n, self.k))

    def official(self, hits: np.ndarray, n: np.ndarray, drop: int) -> np.ndarray:
        """The dropped row is among those looked at, and one is taken off the count for it, a hit or not."""
        return ratio(first(n, hits[:, : self.k + drop]).sum(axis=1) - drop, np.minimum(n - drop, self.k))
