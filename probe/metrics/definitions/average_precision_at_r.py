"""mAP@R: (1 / n) sum over j <= n of P(j) rel(j), of Musgrave et al., "A Metric Learning Reality Check", ECCV 2020.

R is n, the number of images that are relevant to the query (arXiv:2003.08505).
"""

import numpy as np

from probe.metrics.definitions.average_precision import BLOCK, precisions
from probe.metrics.metric import METRIC_KINDS, Metric, first, ratio


@METRIC_KINDS.register
class AveragePrecisionAtR(Metric):
    form = "mAP@R"
    has_official = False

    def depth(self, most_relevant: int) -> int:
        return most_relevant

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        sums = np.zeros(len(n))
        for start in range(0, len(n) if hits.shape[1] else 0, BLOCK):
            some = slice(start, start + BLOCK)
            # added rank by rank: no bit depends on how many results other queries have
            sums[some] = precisions(first(n[some], hits[some])).cumsum(axis=1)[:, -1]
        return ratio(sums, n)
