"""The queries of a run's test split whose images are here: what a cheaper export costs in R@1 is measured on them.

Each searches the others, whatever the split's index is, so that the run's embeddings and the export's are compared on
the same work; the score of the run itself is another.

    queries = QueryImages.of_run(run, data_root)
    queries.recall(embedder.encode(queries.paths), "cosine")        # 0.7312
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from probe.data import LISTS, has_image
from probe.metrics import evaluate
from probe.runs import RunDirectory
from probe.search import Distance, Vectors

MOST = 1_000  # images
KEY = ["source", "image"]


@dataclass(frozen=True)
class QueryImages:
    """Whole classes of queries, evenly spaced."""

    frame: pl.DataFrame
    """(N, ...) source, image, domain and label, each image once."""
    paths: list[Path]
    """(N,)."""

    @classmethod
    def of_run(cls, run: RunDirectory, data_root: Path, most: int = MOST) -> Self | None:
        """Those that lie where they lay or below the data root, `most` at most; None where none of their classes has
        two images there."""
        if not run.indexes:
            return None
        rows = run.per_query(run.indexes[0]).select(*KEY, "domain", "label")
        if rows.schema["label"] == LISTS:
            return None
        rows = rows.unique(KEY, maintain_order=True).sort("domain", "label", *KEY)
        folders = {source: run.environment.folder_of(source, data_root) for source in rows["source"].unique()}
        here = pl.Series([has_image(folders[source], image) for source, image in rows.select(KEY).iter_rows()])
        rows = rows.filter(here).filter(pl.len().over("domain", "label") > 1)
        if rows.is_empty():
            return None
        rows = _thinned(rows, most)
        return cls(rows, [folders[source] / image for source, image in rows.select(KEY).iter_rows()])

    def recall(self, embeddings: np.ndarray, distance: Distance) -> float:
        """R@1, balanced over domains, of (N, d) embeddings."""
        rows = self.frame.with_columns(role=pl.lit("both"))
        found = evaluate(rows, Vectors(embeddings), distance=distance, metrics=["R@1"], indexes=["merged"])
        return found.scores.of("clean", "merged").mean["R@1"] or 0.0


def _thinned(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Every k-th class, with the least k that leaves no more than `most` rows, or a single class."""
    number = pl.struct("domain", "label").rle_id()
    classes = rows.select(number.n_unique()).item()
    steps = (rows.filter(number % step == 0) for step in range(-(-len(rows) // most), classes + 1))
    return next((few for few in steps if len(few) <= most), rows.filter(number == 0))
