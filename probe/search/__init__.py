"""Exact k nearest neighbours by cosine or Euclidean distance, sealed: other packages use what is exported here.

Similarities are float64; ties go to the earlier row; a query never finds its own image. Block sizes, threads and the
device change no bit. reference.py is the definition in twenty lines; docs/evaluation.md ("Why the search is exact") has
the proof.

    neighbours = search(queries, index, k=5, same_image=np.array([(0, 17)]))     # query 0 is image 17 of the index
    near_duplicates(features, 0.95, queries=None)     # images that are almost another one of their class
"""

from probe.search.batch import BLOCKS
from probe.search.distances import Distance
from probe.search.exact import Neighbours, paired_similarities, search
from probe.search.near_duplicates import near_duplicates
from probe.search.vectors import UNIT, Vectors

__all__ = ["BLOCKS", "UNIT", "Distance", "Neighbours", "Vectors", "near_duplicates", "paired_similarities", "search"]
