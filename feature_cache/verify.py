"""Reads every byte of a store and says which rows are bad; takes those out, so that only they are extracted again.

The digests are those of the columns' chunks, so one flipped bit costs the rows of one chunk.

    report = verify("features/pocket/clip.h5")
    report.problems                               # ['rows 455 to 909: `features` does not match its digest']
    repair("features/pocket/clip.h5")             # writes the store, and its parts, anew without their bad rows
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_cache.chunks import ChunkReader
from feature_cache.layout import (
    REPLACE,
    Rows,
    column_chunks,
    features_of,
    not_finite,
    not_ids,
    opening,
    read_failures,
    read_what_is_left,
)
from feature_cache.lock import writer_lock
from feature_cache.new_file import replacing, widths
from feature_cache.store import FeatureStore
from feature_cache.writer import written_files

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Verification:
    """What `verify` found."""

    path: Path
    problems: list[str]
    """One line each."""
    bad: np.ndarray
    """(N,) bool: the rows that must not be used."""
    ids: list[str | None]
    """(N): None where unreadable."""
    failures_lost: bool
    """The list of the images that gave no features is unreadable."""
    not_covered: str | None
    """What its checks do not see, and what to do; None where they see all."""

    @property
    def bad_ids(self) -> list[str | None]:
        """Ids of the bad rows, None where unreadable."""
        return [self.ids[row] for row in np.flatnonzero(self.bad)]


def verify(path: str | Path, advance: Advance = lambda rows: None) -> Verification:
    """Checks every chunk of every column, that features are finite, and that no id occurs twice.

    `advance` is told of the rows as they are read. Raises StoreError when the file as a whole cannot be read.
    """
    store = FeatureStore(path)
    problems: list[str] = []
    bad = np.zeros(store.rows, bool)
    ids: list[str | None] = [None] * store.rows

    def mark(part: slice, column: str) -> None:
        bad[part] = True
        problems.append(f"rows {part.start:,} to {part.stop - 1:,}: `{column}` does not match its digest")

    with opening(store.path, REPLACE) as file:
        for part, values in column_chunks(file, "id"):
            if values is None:
                mark(part, "id")
            else:
                ids[part] = [image.decode(errors="surrogateescape") for image in values.tolist()]
        for part, values in _features(features_of(file)):
            if values is None:
                mark(part, "features")
            else:
                for rows, what in _doubtful_features(values, store.is_sealed):
                    bad[part.start + rows] = True
                    problems += [f"row {row:,} ({ids[row]}): {what}" for row in part.start + rows]
            advance(part.stop - part.start)
        for name in ("size", "content"):
            for part, values in column_chunks(file, name):
                if values is None:
                    mark(part, name)
        failures_lost = any(values is None for _, values in column_chunks(file, "failed"))
    if failures_lost:
        problems.append("the list of images that gave no features does not match its digest")
    for row, what in _doubtful_ids(ids):
        bad[row] = True
        problems.append(f"row {row:,} ({ids[row]}): {what}")
    return Verification(store.path, problems, bad, ids, failures_lost, store.not_covered)


def repair(path: str | Path, advance: Advance = lambda rows: None) -> list[Verification]:
    """Verifies a store and its parts, and writes those where there are problems anew without their bad rows.

    Returns what was wrong. Raises StoreError while another process writes it, and when a file cannot be read at all.
    """
    path = Path(path)
    reports = []
    with writer_lock(path):
        for file in written_files(path):
            report = verify(file, advance)
            if report.problems:
                _write_good_rows(FeatureStore(file), report)
            reports.append(report)
    return reports


def _write_good_rows(store: FeatureStore, report: Verification) -> None:
    ids = ["" if bad or image is None else image for image, bad in zip(report.ids, report.bad, strict=True)]
    with opening(store.path) as old:
        failures = [] if report.failures_lost else read_failures(old)
        features = features_of(old)
        (sizes, _), (contents, _) = read_what_is_left(old, "size"), read_what_is_left(old, "content")
        room = widths(ids, failures)
        with replacing(store.path, store.spec, store.dim, store.dtype.name, room, store.remarks) as new:
            for part in _good_runs(features, report.bad):
                rows = features.between(part.start, part.stop)
                new.append(Rows(ids[part], rows, sizes[part], contents[part]))
            new.append_failures(failures)


def _good_runs(features: ChunkReader, bad: np.ndarray) -> Iterator[slice]:
    """Slices without a bad row, a chunk at most."""
    for start in features.starts:
        edges = np.flatnonzero(np.diff(np.concatenate(([True], bad[start : start + features.step], [True])))) + start
        for first, last in edges.reshape(-1, 2).tolist():
            yield slice(first, last)


def _features(reader: ChunkReader) -> Iterator[tuple[slice, np.ndarray | None]]:
    """All features chunk by chunk; None for a chunk that cannot be read."""
    for start in reader.starts:
        part = slice(start, min(start + reader.step, reader.rows))
        try:
            values = reader.chunk(start)
        except OSError:
            values = None
        yield part, values


def _doubtful_features(values: np.ndarray, is_sealed: bool) -> Iterator[tuple[np.ndarray, str]]:
    yield not_finite(values), "a feature is not a finite number"
    if not is_sealed:
        yield np.flatnonzero(~values.any(axis=1)), "its features are zeros, as a hole in the file is"


def _doubtful_ids(ids: list[str | None]) -> Iterator[tuple[int, str]]:
    known = {image: row for row, image in reversed(list(enumerate(ids)))}
    wrong = set(not_ids([image for image in ids if image is not None]))
    for row, image in enumerate(ids):
        if image in wrong:
            yield row, "that is not an id"
        elif image is not None and known[image] != row:
            yield row, f"the id is that of row {known[image]:,}, too"
