"""Spearman's rank correlation: whether two lists of values have the same order.

spearman([61.3, 59.2, 55.0], [70.1, 69.9, 64.2])      # 1.0
"""

import statistics
from collections.abc import Sequence


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks; equal values share the mean of their ranks. Raises StatisticsError where all
    values of a side are equal, or there are fewer than two."""
    return statistics.correlation(_ranks(first), _ranks(second))


def _ranks(values: Sequence[float]) -> list[float]:
    below = {value: sum(other < value for other in values) for value in set(values)}
    return [below[value] + (values.count(value) - 1) / 2 for value in values]
