"""R-precision: (1 / n) sum over j <= n of rel(j), the share of relevant results among the first n.

Manning et al., "Introduction to Information Retrieval", 2008, section 8.4; R is n.
"""

import numpy as np

from probe.metrics.metric import METRIC_KINDS, Metric, first, ratio


@METRIC_KINDS.register
class RPrecision(Metric):
    form = "R-precision"
    has_official = False

    def depth(self, most_relevant: int) -> int:
        return most_relevant

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        return ratio(first(n, hits).sum(axis=1), n)
