"""What a search of an index found.

hits = index.search(["a.jpg", "b.jpg"], k=10)
hits.frame                    # query, rank, id, similarity, and the columns of the index
hits.of(0)["id"].to_list()    # of the first query, best first
"""

import json
from dataclasses import dataclass

import polars as pl

FIRST = ("query", "rank", "id", "similarity")


@dataclass(frozen=True)
class Hits:
    """Of Q queries, best first; equal similarities are ordered by id."""

    queries: tuple[str, ...]
    """(Q,) What they are called: the names of their images, or their numbers."""
    frame: pl.DataFrame
    """A row a hit: `query` (its number, from 0), `rank` (from 1), `id`, `similarity` (float64: the cosine, or minus the
    Euclidean distance), and the columns of the index. A query has fewer than k where the index has."""
    exact: bool = True
    """Whether no neighbour can have been missed."""

    def of(self, query: int) -> pl.DataFrame:
        """(n, ...) The hits of one query."""
        return self.frame.filter(pl.col("query") == query)

    def to_json(self) -> str:
        """`{"queries": [{"query": "a.jpg", "hits": [{"rank": 1, "id": ..., "similarity": ...}]}]}`."""
        queries = [
            {"query": name, "hits": self.of(number).drop("query").to_dicts()}
            for number, name in enumerate(self.queries)
        ]
        return json.dumps({"queries": queries}, ensure_ascii=False, default=str)
