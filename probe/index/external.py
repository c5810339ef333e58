"""Vectors that were made elsewhere, as rows of an index: by whatever it may be, or by `probe embed`.

rows_of(["a", "b"], vectors, columns=None)      # a frame of their ids and columns
embedded_rows(Path("photos.h5"), path, manifest)      # of a store, if it is of the embedder of the index
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from feature_cache import FeatureStore
from probe.errors import UsageError
from probe.index.following import OF_IMAGES
from probe.index.hits import FIRST
from probe.index.manifest import IndexManifest
from probe.index.writer import require_distinct

AT_ONCE = 1 << 20  # vectors that become a segment
RESERVED = {*FIRST, "match", "source", "image", "vector", *OF_IMAGES}


def rows_of(ids: Sequence[str], vectors: np.ndarray, columns: pl.DataFrame | None) -> pl.DataFrame:
    """(N, ...) The ids and columns of vectors (N, d).

    Raises UsageError where they are not of one number, for an id that is there twice, and for a column that the index
    has of its own.
    """
    frame = pl.DataFrame({"id": pl.Series("id", list(ids), pl.String)})
    if columns is not None:
        if taken := RESERVED & set(columns.columns):
            raise UsageError(f"a column cannot be called '{min(taken)}', as the index has its own; rename it.")
        if len(columns) != len(frame):
            raise UsageError(f"there are {len(columns):,} rows of columns for {len(frame):,} ids; give each its own.")
        frame = frame.hstack(columns)
    if len(vectors) != len(frame):
        raise UsageError(f"there are {len(vectors):,} vectors for {len(frame):,} ids; give each its own.")
    require_distinct(frame["id"])
    return frame


def embedded_rows(store: Path, index: Path, manifest: IndexManifest) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Columns (n, ...) and embeddings (n, d) of what `probe embed` wrote, in parts. Raises UsageError for those of
    another run than the one of the index, or in another precision."""
    found, record = FeatureStore(store), manifest.embedder
    if manifest.fit is not None:
        raise UsageError(
            f"{index} is fitted to its collection, and vectors that `probe embed` wrote are not; add images."
        )
    if record is None or found.spec != {"run": record.vectors}:
        of, own = _short(str(found.spec.get("run", "no run"))), _short(record.vectors if record else "no run")
        raise UsageError(
            f"{store} has vectors of {of}, and those of {index} are of {own}; embed the images by the same run, in the "
            "same precision."
        )
    for rows in found.blocks(AT_ONCE):
        sizes = {"width": rows.sizes[:, 0], "height": rows.sizes[:, 1]}
        yield pl.DataFrame({"id": rows.ids, **sizes}), rows.features


def _short(key: str) -> str:
    """Of what `probe embed` calls vectors, what one can read."""
    return "-".join(part[:12] for part in key.split("-"))
