"""A segment: some rows of an index, ordered by id, which never change; and which of them are removed.

segment = write_segment(folder, "000001", frame, vectors)
segment.frame, segment.live      # the columns of all its rows, and which of them are there
"""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from probe.errors import ProbeError
from probe.index.files import CheckedFile, npy_blocks, write_file
from probe.index.manifest import RemovedRecord, SegmentRecord, VectorType
from probe.index.projection import Projection
from probe.search import UNIT, Vectors

READ = 16_384  # rows copied at once
WIDER = "float16"


class Segment:
    """Open: what it has, it keeps, whatever later writers remove. Files are checked when they are first read.

    Raises FileNotFoundError for a file that is not there.
    """

    def __init__(self, folder: Path, record: SegmentRecord) -> None:
        self.record = record
        self._vectors = CheckedFile(folder / f"{record.name}.npy", record.vectors)
        self._columns = CheckedFile(folder / f"{record.name}.parquet", record.columns)
        self._wider = CheckedFile(folder / f"{record.name}.wider.npy", record.wider) if record.wider else None
        removed = record.removed
        self._removed = CheckedFile(folder / f"{removed.name}.npy", removed.digest) if removed else None
        self._structure: Any = None
        self._reading = threading.Lock()
        faiss = record.approximate
        self.approximate = CheckedFile(folder / f"{faiss.name}.faiss", faiss.digest) if faiss else None

    def __len__(self) -> int:
        """Rows, removed ones too."""
        return self.record.rows

    @cached_property
    def vectors(self) -> np.ndarray:
        """(N, d), mapped from disk."""
        return self._vectors.array()

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(N, m), mapped from disk: what was put, before it was projected, where it is."""
        return self._wider.array() if self._wider else self.vectors

    @cached_property
    def is_unit(self) -> bool:
        """Whether all vectors have a length of 1, as those of embedders have by cosine; in float16 they have not."""
        starts = range(0, len(self), READ) if self.vectors.dtype == np.float32 else ()
        lengths = (np.linalg.norm(self.vectors[start : start + READ].astype(np.float64), axis=1) for start in starts)
        return bool(starts) and all((np.abs(block - 1) <= UNIT).all() for block in lengths)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """(N, ...) Columns, ordered by id."""
        return pl.read_parquet(io.BytesIO(self._columns.content()))

    @cached_property
    def live(self) -> np.ndarray:
        """(N,) bool: the rows that are there."""
        live = np.ones(len(self), bool)
        if self._removed:
            live[self._removed.array()] = False
        return live

    def structure(self, read: Callable[[Callable[[int], bytes]], Any]) -> Any:
        """What `read` makes of the file of its approximate structure, once."""
        with self._reading:
            if self._structure is None and self.approximate:
                self._structure = self.approximate.read_by(read)
        return self._structure

    @property
    def rows(self) -> np.ndarray:
        """(n,) int64: those that are there, ascending."""
        return np.flatnonzero(self.live)

    @property
    def part(self) -> tuple[pl.DataFrame, Vectors]:
        """Columns and embeddings of the rows that are there."""
        rows = self.rows
        return self.frame[rows], Vectors(self.embeddings, None if len(rows) == len(self) else rows)

    def check(self) -> None:
        """Reads every byte. Raises ProbeError for a file that is not what was written."""
        for file in (self._vectors, self._columns, self._wider, self._removed, self.approximate):
            if file:
                file.check()
        if {len(self.vectors), len(self.embeddings), self.frame.height} != {len(self)}:
            raise ProbeError(f"{self._vectors.path}: its files disagree on the number of rows; restore a copy.")

    def find(self, ids: pl.Series) -> np.ndarray:
        """(n,) int64: the row of each of these ids, -1 where it is not there."""
        own = self.frame["id"]
        rows = np.minimum(own.search_sorted(ids).to_numpy().astype(np.int64), len(own) - 1)
        return np.where((own.gather(rows) == ids).to_numpy() & self.live[rows], rows, -1)

    def rows_of_files(self, digests: Sequence[int]) -> np.ndarray:
        """(n,) int64: the rows, of those that are there, whose image files have one of these digests."""
        known, rows = self._by_digest
        wanted = np.unique(np.array(digests, np.uint64))
        first, last = (np.searchsorted(known, wanted, side) for side in ("left", "right"))
        found = [rows[:0], *(rows[start:stop] for start, stop in zip(first, last, strict=True))]
        there = np.concatenate(found)
        return there[self.live[there]]

    @cached_property
    def _by_digest(self) -> tuple[np.ndarray, np.ndarray]:
        """(m,) uint64, ascending: those of all image files; and (m,) int64, their rows."""
        if "digest" not in self.frame.columns:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        digests = self.frame["digest"]
        rows, known = np.flatnonzero(digests.is_not_null().to_numpy()), digests.drop_nulls().to_numpy()
        order = known.argsort(kind="stable")
        return known[order], rows[order]

    def rows_of(self, ids: pl.Series) -> np.ndarray:
        """(n,) int64, ascending: the rows, of those that are there, with one of these ids."""
        rows = np.unique(self.find(ids))
        return rows[rows >= 0]


def write_segment(
    folder: Path,
    name: str,
    parts: Sequence[tuple[pl.DataFrame, Vectors]],
    dtype: VectorType,
    projection: Projection | None,
) -> SegmentRecord:
    """Writes rows that come in parts, each of columns (n, ...) and embeddings (n, m), as one segment, ordered by id.

    Their vectors are the embeddings, or what the projection makes of them, which are then kept beside. No id is there
    twice. Raises ProbeError where the disk does not take it.
    """
    frame = pl.concat([frame for frame, _ in parts], how="diagonal")
    order = frame.select(pl.col("id").arg_sort()).to_series().to_numpy().astype(np.int64)
    ends = np.cumsum([len(frame) for frame, _ in parts])

    def embeddings(dtype: str) -> Iterator[np.ndarray]:
        for start in range(0, len(order), READ):
            some = order[start : start + READ]
            block = np.empty((len(some), width), dtype)
            part = np.searchsorted(ends, some, side="right")
            for number in np.unique(part):
                here = part == number
                vectors = parts[number][1]
                positions = some[here] - (ends[number] - len(vectors))
                block[here] = vectors.take(positions).block(0, len(positions)).numpy()
            yield block

    def write(path: Path, dtype: str, dim: int, blocks: Iterator[np.ndarray]) -> str:
        return write_file(path, npy_blocks(np.dtype(dtype), (len(order), dim), blocks))

    width, wider, lengths = parts[0][1].dim, None, []

    def projected(projection: Projection) -> Iterator[np.ndarray]:
        for block in embeddings(WIDER):
            found, left = projection.with_lengths(block)
            lengths.append(left)
            yield found

    if projection is None:
        vectors = write(folder / f"{name}.npy", dtype, width, embeddings(dtype))
    else:
        wider = write(folder / f"{name}.wider.npy", WIDER, width, embeddings(WIDER))
        vectors = write(folder / f"{name}.npy", dtype, len(projection.matrix), projected(projection))
    kept = float(np.mean(np.square(np.concatenate(lengths)))) if lengths else None
    content = io.BytesIO()
    frame[order].write_parquet(content, statistics=False)
    columns = write_file(folder / f"{name}.parquet", [content.getbuffer()])
    return SegmentRecord(name=name, rows=len(order), vectors=vectors, columns=columns, wider=wider, kept=kept)


def without(segment: Segment, rows: np.ndarray, folder: Path, state: int) -> SegmentRecord | None:
    """The segment with these rows (n,) removed as well; None where no row is left."""
    live = segment.live.copy()
    live[rows] = False
    removed = np.flatnonzero(~live)
    if len(removed) == len(segment):
        return None
    name = f"{segment.record.name}.removed-{state:06d}"
    digest = write_file(folder / f"{name}.npy", npy_blocks(removed.dtype, removed.shape, [removed]))
    record = RemovedRecord(name=name, digest=digest, rows=len(removed))
    return segment.record.model_copy(update={"removed": record})
