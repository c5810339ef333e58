"""The one writer of an index, for a while: it alone makes files and removes them.

Each change is a commit: new files are on the disk before the manifest that names them replaces the one before it. What
a commit no longer names is removed after it, by this writer, or by the next one where this one is killed.

    with writing(Path("photos.index")) as writer:
        writer.put(frame, vectors)
        writer.remove(pl.Series(["photos/a.jpg"]))
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_cache import writer_lock
from probe.errors import UsageError
from probe.index.manifest import SegmentRecord, SourceRecord, read_manifest, sweep
from probe.index.projection import ENOUGH, Projection, principal_components, write_projection
from probe.index.segment import READ, Segment, without, write_segment
from probe.index.state import State
from probe.search import Vectors


@contextmanager
def writing(folder: Path) -> Iterator["Writer"]:
    """Raises StoreError where another process is writing, and UsageError where there is no index."""
    read_manifest(folder)  # before a lock is made beside it
    with writer_lock(folder):
        state = State.read(folder)
        sweep(folder, state.manifest)
        yield Writer(state)


class Writer:
    """`state`: the present one, after each change."""

    def __init__(self, state: State) -> None:
        self.state = state

    def put(self, frame: pl.DataFrame, vectors: np.ndarray) -> None:
        """Rows of columns (n, ...) and embeddings (n, m) take the place of those with their ids, or are added.

        They become one segment, and with it those before it that are not larger, so that there are always few; what has
        an approximate structure stays as it is. Raises UsageError for what cannot be rows of this index.
        """
        self._require(frame, vectors)
        kept = [Segment(self.state.folder, record) for record in self._segments_without(frame["id"])]
        parts, rows = [(frame, Vectors(vectors))], len(frame)
        while kept and kept[-1].record.live <= rows and not kept[-1].approximate:
            segment = kept.pop()
            parts.insert(0, segment.part)
            rows += segment.record.live
        self.commit([*(segment.record for segment in kept), self._write(parts)])

    def remove(self, ids: pl.Series) -> None:
        """Those that are there."""
        if len(ids):
            self.commit(self._segments_without(ids))

    def compact(self, anew: bool = False) -> None:
        """All rows as one segment, without those that are removed, and without an approximate structure where there is
        anything to do; `anew`: also where there is not."""
        segments = self.state.segments
        if anew or len(segments) > 1 or any(segment.record.removed for segment in segments):
            self.commit([self._write([segment.part for segment in segments])] if segments else [])

    def fit_first(self) -> None:
        """Fits the projection as soon as there are rows enough."""
        fit = self.state.manifest.fit
        if fit is not None and fit.rows == 0 and self.has_enough:
            self.fit()

    def fit(self) -> None:
        """Fits the projection to all rows, which become one segment, without an approximate structure.

        What was known of false matches is forgotten. Nothing is done where it was fitted to these very rows. Raises
        UsageError where there are too few.
        """
        manifest, segments = self.state.manifest, self.state.segments
        if manifest.is_fitted:
            return
        if not self.has_enough:
            raise UsageError(
                f"{self.state.folder} has {manifest.rows:,} rows, and {manifest.dim} dimensions are fitted to "
                f"{ENOUGH * manifest.dim:,} or more; add images first."
            )
        parts = [segment.part for segment in segments]
        matrix = principal_components((block for _, embeddings in parts for block in _blocks(embeddings)), manifest.dim)
        record = write_projection(self.state.folder, f"{self._next:06d}.projection", matrix, manifest.rows)
        segment = self._write(parts, Projection(self.state.folder, record))
        self.commit([segment], fit=record.model_copy(update={"kept": segment.kept}), no_match=None)

    @property
    def has_enough(self) -> bool:
        """Rows to be fitted to."""
        return self.state.manifest.rows >= ENOUGH * self.state.manifest.dim

    def register(self, records: Iterable[SourceRecord]) -> None:
        """Sources are known before their images are there, so that `update` goes on with what an `add` has left.

        Raises UsageError for a second source of a name.
        """
        manifest = self.state.manifest
        known = {(record.kind, record.named): record for record in manifest.sources}
        roots = manifest.roots
        for record in records:
            for name, root in record.roots.items():
                if str(roots.setdefault(name, Path(root))) != root:
                    raise UsageError(
                        f"{self.state.folder} has a source '{name}' in {roots[name]} already; rename the folder "
                        f"{root}, or take the other one out: `probe index remove INDEX --source {name}`."
                    )
            known[record.kind, record.named] = record
        if tuple(known.values()) != manifest.sources:
            self.commit(manifest.segments, sources=tuple(known.values()))

    def forget(self, name: str) -> int:
        """Removes a source and all its rows; their number. Raises UsageError where there is none of that name."""
        manifest = self.state.manifest
        gone = [record for record in manifest.sources if name in record.roots]
        if not gone:
            known = ", ".join(sorted(manifest.roots)) or "none"
            raise UsageError(f"{self.state.folder} has no source '{name}'; its sources are: {known}.")
        ids = self.state.ids_where("source", [each for record in gone for each in record.roots])
        kept = tuple(record for record in manifest.sources if record not in gone)
        self.commit(self._segments_without(ids), sources=kept)
        return len(ids)

    def commit(self, segments: Sequence[SegmentRecord], **changed: Any) -> None:
        """The next state: these segments, and what else of the manifest changes."""
        update = {"segments": tuple(segments), "state": self._next, **changed}
        manifest = self.state.manifest.model_copy(update=update)
        manifest.write(self.state.folder)
        self.state = self.state.next(manifest)
        sweep(self.state.folder, manifest)

    @property
    def _next(self) -> int:
        return self.state.manifest.state + 1

    def _write(
        self, parts: Sequence[tuple[pl.DataFrame, Vectors]], projection: Projection | None = None
    ) -> SegmentRecord:
        name, dtype = f"{self._next:06d}", self.state.manifest.dtype
        return write_segment(self.state.folder, name, parts, dtype, projection or self.state.projection)

    def _segments_without(self, ids: pl.Series) -> list[SegmentRecord]:
        """The segments once the rows with these ids, as far as they are there, are removed."""
        found = []
        for segment in self.state.segments:
            rows = segment.rows_of(ids)
            record = without(segment, rows, self.state.folder, self._next) if len(rows) else segment.record
            found += [record] if record else []
        return found

    def _require(self, frame: pl.DataFrame, vectors: np.ndarray) -> None:
        ids, manifest = frame["id"], self.state.manifest
        if vectors.shape != (len(frame), self.state.width) or vectors.dtype.kind != "f":
            raise UsageError(
                f"vectors are {vectors.dtype} of shape {vectors.shape}; those of {self.state.folder} are floats of "
                f"shape ({len(frame)}, {self.state.width})."
            )
        if ids.null_count() or (ids == "").any() or ids.str.contains("\0", literal=True).any():
            raise UsageError("an id is empty or has a NUL; give each row a text of its own.")
        require_distinct(ids)
        with np.errstate(over="ignore"):
            largest = np.abs(vectors.astype(manifest.dtype, copy=False)).max(axis=1)
        bad = ~np.isfinite(largest) | ((largest == 0) & (manifest.distance == "cosine"))
        if bad.any():
            raise UsageError(
                f"{bad.sum():,} vector(s) are zero or not finite as {manifest.dtype}, the first of "
                f"'{ids[int(bad.argmax())]}'; leave them out."
            )
        for name, kind in self.state.schema.items():
            if name in frame.columns and frame.schema[name] != kind:
                raise UsageError(f"the column '{name}' holds {frame.schema[name]}, in the index {kind}; convert it.")


def _blocks(vectors: Vectors) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), READ):
        yield vectors.block(start, min(start + READ, len(vectors))).numpy()


def require_distinct(ids: pl.Series) -> None:
    """Raises UsageError for an id that is there twice."""
    if ids.n_unique() < len(ids):
        raise UsageError(f"the id '{ids.filter(ids.is_duplicated())[0]}' is there twice; give each row its own.")
