"""One state of an index: a manifest and the segments that it names, all of them open, so that it stays as it is.

state = State.read(Path("photos.index"))
state.vectors(["photos/a.jpg"])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from probe.errors import ProbeError, UsageError
from probe.index.manifest import IndexManifest, SegmentRecord, read_manifest
from probe.index.projection import Projection
from probe.index.segment import Segment


@dataclass(frozen=True)
class State:
    folder: Path
    manifest: IndexManifest
    segments: list[Segment]
    projection: Projection | None
    """Of the embedder's vectors to those of the index, where it has one."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The present one. Raises UsageError for what is no index, and ProbeError where a file of it is missing."""
        manifest = read_manifest(folder)
        while True:
            try:
                segments = [Segment(folder, record) for record in manifest.segments]
                return cls(folder, manifest, segments, Projection(folder, manifest.fit) if manifest.fit else None)
            except FileNotFoundError as error:  # of a writer, since the manifest was read
                before, manifest = manifest, read_manifest(folder)
                if manifest == before:
                    raise ProbeError(f"{error.filename} is missing; restore a copy of the index.") from error

    def next(self, manifest: IndexManifest) -> "State":
        """The state of this manifest, which is on disk. What is open in this one is not opened again."""
        opened = {segment.record: segment for segment in self.segments}

        def segment(record: SegmentRecord) -> Segment:
            return opened.get(record) or Segment(self.folder, record)

        projection = self.projection if manifest.fit == self.manifest.fit else None
        if projection is None and manifest.fit:
            projection = Projection(self.folder, manifest.fit)
        return State(self.folder, manifest, [segment(record) for record in manifest.segments], projection)

    @property
    def is_approximate(self) -> bool:
        """Whether a segment has an approximate structure."""
        return any(segment.approximate for segment in self.segments)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """(N, ...) `id` and the other columns of all rows, ordered by id."""
        frames = [segment.frame.filter(segment.live) for segment in self.segments]
        return pl.concat(frames, how="diagonal").sort("id") if frames else pl.DataFrame(schema={"id": pl.String})

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        return {name: kind for segment in self.segments for name, kind in segment.frame.schema.items()}

    def rows_with(self, ids: pl.Series) -> pl.DataFrame:
        """(n, ...) The columns of those of these rows that are there, in no order."""
        frames = [segment.frame[segment.rows_of(ids)] for segment in self.segments]
        return pl.concat([pl.DataFrame(schema={"id": pl.String}), *frames], how="diagonal")

    def ids_of_files(self, digests: Sequence[int]) -> pl.Series:
        """(n,) Of all rows whose image files have one of these digests."""
        found = [segment.frame["id"].gather(segment.rows_of_files(digests)) for segment in self.segments]
        return pl.concat([pl.Series("id", [], pl.String), *found])

    def ids_where(self, column: str, values: Sequence[str]) -> pl.Series:
        """(n,) Of all rows that have one of these values in a column."""
        there = [segment for segment in self.segments if column in segment.frame.columns]
        found = []
        for segment in there:
            wanted = pl.Series(values, dtype=segment.frame.schema[column])
            is_one = segment.frame[column].is_in(wanted.implode()).fill_null(False).to_numpy()
            found.append(segment.frame["id"].filter(pl.Series(is_one & segment.live)))
        return pl.concat([pl.Series("id", [], pl.String), *found])

    def ids_of_class(self, label: str, domain: str) -> list[str]:
        """(n,) Of all rows that have this label; in this domain, where they have one."""
        if "label" not in self.schema:
            return []
        columns = {"id": pl.String, "label": pl.String, "domain": pl.String}
        rows = pl.concat([pl.DataFrame(schema=columns), self.frame], how="diagonal")
        elsewhere = pl.col("domain").is_not_null() & (pl.col("domain") != domain)
        return rows.filter((pl.col("label") == label) & ~elsewhere)["id"].to_list()

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(n, d) float32. Raises UsageError for ids that are not there."""
        return self._of_each(ids, lambda segment: segment.vectors, self.manifest.dim)

    def embeddings(self, ids: Sequence[str]) -> np.ndarray:
        """(n, m) float32: what was put, before it was projected, where it is."""
        return self._of_each(ids, lambda segment: segment.embeddings, self.width)

    @property
    def width(self) -> int:
        """Dimensions of what is put."""
        return self.manifest.fit.width if self.manifest.fit else self.manifest.dim

    def _of_each(self, ids: Sequence[str], values: Callable[[Segment], np.ndarray], width: int) -> np.ndarray:
        found = np.empty((len(ids), width), np.float32)
        wanted = pl.Series("id", list(ids), pl.String)
        missing = np.ones(len(ids), bool)
        for segment in self.segments:
            rows = segment.find(wanted)
            there = rows >= 0
            found[there] = values(segment)[rows[there]]
            missing[there] = False
        if missing.any():
            more = f", and not {missing.sum() - 1:,} more" if missing.sum() > 1 else ""
            raise UsageError(
                f"{self.folder} has no '{ids[int(missing.argmax())]}'{more}; `probe index info` says what it has."
            )
        return found
