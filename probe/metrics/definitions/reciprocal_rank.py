"""MRR@k: 1 / the rank of the first relevant result, 0 where none of the first k is (Voorhees, TREC-8, 1999)."""

import numpy as np

from probe.metrics.metric import METRIC_KINDS, MetricAtK, where_findable


@METRIC_KINDS.register
class ReciprocalRank(MetricAtK):
    form = "MRR@k"
    has_official = False

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        hits = hits[:, : self.k]
        if not hits.shape[1]:
            return where_findable(n, np.zeros(len(n)))
        return where_findable(n, hits.any(axis=1) / (hits.argmax(axis=1) + 1))
