"""What `search` finds, in plain Python: every pair in float64, exact sums, the best k, ties to the earlier row.

Tests compare the search with it, on a few hundred vectors. Where two similarities are not equal but nearer than their
rounding, the two may order them differently.

    neighbours = reference_search(queries, index, k=5, same_image=np.array([(0, 17)]))
"""

import math

import numpy as np

from probe.search.distances import Distance
from probe.search.exact import Neighbours


def reference_search(
    queries: np.ndarray, index: np.ndarray, k: int, same_image: np.ndarray, distance: Distance = "cosine"
) -> Neighbours:
    """queries (Q, D), index (N, D), same_image (P, 2) as in `search`."""
    rows, similarities = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf)
    left_out = {(int(query), int(row)) for query, row in same_image}
    index = index.astype(np.float64)
    for i, query in enumerate(queries.astype(np.float64)):
        found = [(-similarity(query, vector, distance), j) for j, vector in enumerate(index) if (i, j) not in left_out]
        for rank, (negative, j) in enumerate(sorted(found)[:k]):
            rows[i, rank], similarities[i, rank] = j, -negative
    return Neighbours(rows, similarities)


def similarity(query: np.ndarray, vector: np.ndarray, distance: Distance) -> float:
    """The cosine of the angle, or minus the Euclidean distance, of two float64 vectors (D,)."""
    if distance == "euclidean":
        return -math.sqrt(math.fsum((query - vector) ** 2))
    return math.fsum(query * vector) / math.sqrt(math.fsum(query**2) * math.fsum(vector**2))
