"""A file of the store's layout comes into being under a temporary name, is read back whole, and takes its final name.

So one that bears its final name is never half-written, whatever signal came and wherever the disk was full.

    with replacing(path, spec, dim=768, dtype="float16", widths=widths(ids, failures)) as new:
        new.append(Rows(ids, features, sizes))
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from feature_cache.chunks import ChunkWriter
from feature_cache.digests import COLUMNS, seal
from feature_cache.disk import GuardedFile, sync, uninterrupted
from feature_cache.errors import StoreError, first_line
from feature_cache.layout import (
    CHUNK_BYTES,
    FORMAT,
    VERSION,
    Failure,
    Rows,
    column_chunks,
    dataset,
    digests_of,
    features_of,
    opening,
    read_text,
    sealed_facts,
)
from feature_cache.spec import Remarks, Spec, canonical_json, fingerprint


class Widths(NamedTuple):
    """Bytes of UTF-8 that a file has room for in each text."""

    id: int
    reason: int


class NewFile:
    """A file that is being written; see `replacing`."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._columns = {name: ChunkWriter(dataset(file, name)) for name in COLUMNS}

    def append(self, rows: Rows) -> None:
        """Adds rows at the end."""
        contents = np.zeros(len(rows.ids), np.uint64) if rows.contents is None else rows.contents
        ids = np.array([image.encode() for image in rows.ids], dataset(self._file, "id").dtype)
        with uninterrupted():
            for name, values in (("features", rows.features), ("size", rows.sizes), ("content", contents), ("id", ids)):
                self._columns[name].append(values)

    def append_failures(self, failures: Sequence[Failure]) -> None:
        """Adds images that gave no features."""
        texts = [(failure.id.encode(), _reason(failure)) for failure in failures]
        with uninterrupted():
            self._columns["failed"].append(np.array(texts, dataset(self._file, "failed").dtype))

    def seal(self) -> str:
        """Nothing more will come: digests, counts, and the mark that the file is complete. Returns the seal."""
        with uninterrupted():
            digests = {name: column.close() for name, column in self._columns.items()}
            for name, of_chunks in digests.items():
                self._file[digests_of(name)] = of_chunks
            self._file.attrs["count"] = len(dataset(self._file, "id"))
            self._file.attrs["failed_count"] = len(dataset(self._file, "failed"))
            found = seal(sealed_facts(self._file), digests)
            _write_text(self._file, "seal", found)
            self._file.flush()
            self._file.attrs["complete"] = True
        return found


@contextmanager
def replacing(
    path: Path, spec: Spec, dim: int, dtype: str, widths: Widths, remarks: Remarks | None = None
) -> Iterator[NewFile]:
    """A new file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    It is read back whole before it does. Raises StoreError when the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with GuardedFile(temporary) as disk:
            with ExitStack() as closing:
                with uninterrupted():
                    file = h5py.File(disk, "w", libver=("v110", "v110"))
                    closing.callback(_close, file)
                    _create(file, spec, dim, dtype, widths, remarks)
                    new = NewFile(file)
                yield new
                sealed = new.seal()
            disk.settle()
        _require_whole(temporary, sealed)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} could not be written ({first_line(error)}); make room and start again.") from error
    finally:
        temporary.unlink(missing_ok=True)


def widths(ids: Iterable[str], failures: Iterable[Failure]) -> Widths:
    """What a file of these ids and failures needs."""
    failures = list(failures)
    longest_id = max(map(len, map(str.encode, chain(ids, (failure.id for failure in failures)))), default=0)
    longest_reason = max((len(_reason(failure)) for failure in failures), default=0)
    return Widths(max(longest_id, 1), max(longest_reason, 1))


def _close(file: h5py.File) -> None:
    with uninterrupted():
        file.close()


def _require_whole(path: Path, sealed: str) -> None:
    """Raises OSError unless the file is what was given to be written."""
    try:
        with opening(path) as file:
            whole = read_text(file, "seal") == sealed
            features = features_of(file)
            features.each(features.starts, features.chunk)
            for name in COLUMNS[1:]:
                whole = whole and all(values is not None for _, values in column_chunks(file, name))
    except StoreError as error:
        raise OSError(f"what was read back is damaged: {error}") from error
    if not whole:
        raise OSError("what was read back is not what was written")


def _reason(failure: Failure) -> bytes:
    """A decoder's message may hold anything, such as a file name that is not Unicode."""
    return failure.reason.replace("\0", "\\0").encode(errors="backslashreplace")


def _create(file: h5py.File, spec: Spec, dim: int, dtype: str, widths: Widths, remarks: Remarks | None) -> None:
    texts = {field: h5py.string_dtype("utf-8", width) for field, width in widths._asdict().items()}
    rows = max(1, CHUNK_BYTES // (dim * np.dtype(dtype).itemsize))
    file.create_dataset("features", (0, dim), dtype, maxshape=(None, dim), chunks=(rows, dim))
    file.create_dataset("size", (0, 2), "int32", maxshape=(None, 2), chunks=(max(1, CHUNK_BYTES // 128), 2))
    file.create_dataset("content", (0,), "uint64", maxshape=(None,), chunks=(max(1, CHUNK_BYTES // 64),))
    for name, kind in (("id", texts["id"]), ("failed", np.dtype(list(texts.items())))):
        rows = max(1, CHUNK_BYTES // kind.itemsize)
        file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(rows,), compression="gzip", compression_opts=1)
    for name, value in (("format", FORMAT), ("spec", canonical_json(spec)), ("fingerprint", fingerprint(spec))):
        _write_text(file, name, value)
    for name, remark in (remarks or Remarks())._asdict().items():
        if remark:
            _write_text(file, name, canonical_json(remark))
    file.attrs["version"] = VERSION
    file.attrs["complete"] = False


def _write_text(file: h5py.File, attribute: str, value: str) -> None:
    file.attrs.create(attribute, value.encode(), dtype=h5py.string_dtype("utf-8", len(value.encode())))
