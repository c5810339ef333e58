"""The HDF5 layout that a store and its part files share, and the only place that names datasets and attributes.

`features` (N, D), `id` (N,) UTF-8, `size` (N, 2), `content` (N,) and `failed` (M,) of (id, reason), all Fletcher-32
checked; the metadata has HDF5's own checksums. Texts have a fixed width, the longest of the file, so that nothing lies
in HDF5's unchecked heap. A file comes into being under a temporary name and is renamed when it is whole, so one that
bears its final name is never half-written.

    with replacing(path, spec, dim=768, dtype="float16", widths=widths(ids, failures)) as new:
        new.append(Rows(ids, features, sizes))
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from feature_cache.chunks import ChunkWriter
from feature_cache.disk import GuardedFile
from feature_cache.errors import StoreError, first_line
from feature_cache.spec import Spec, canonical_json, fingerprint

FORMAT = "feature-cache"
VERSION = 1
CHUNK_BYTES = 1 << 20
TEXT_BLOCK_BYTES = 64 << 20
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises on damaged files


@dataclass(frozen=True)
class Rows:
    """Some images' features: `ids` (n), `features` (n, D), `sizes` (n, 2), the originals' width and height, and
    `contents` (n,) uint64, digests of the image files (None or 0: not known)."""

    ids: Sequence[str]
    features: np.ndarray
    sizes: np.ndarray
    contents: np.ndarray | None = None

    def select(self, chosen: np.ndarray) -> "Rows":
        """The rows where `chosen` (n,) is true."""
        ids = [image for image, keep in zip(self.ids, chosen, strict=True) if keep]
        contents = None if self.contents is None else self.contents[chosen]
        return Rows(ids, self.features[chosen], self.sizes[chosen], contents)


class Failure(NamedTuple):
    """An image that gave no features, and why."""

    id: str
    reason: str


class Widths(NamedTuple):
    """Bytes of UTF-8 that a file has room for in each text."""

    id: int
    reason: int


class NewFile:
    """A file that is being written; see `replacing`."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._features = ChunkWriter(dataset(file, "features"))

    def append(self, rows: Rows) -> None:
        """Adds rows at the end."""
        self._features.append(rows.features)
        ids = dataset(self._file, "id")
        contents = np.zeros(len(rows.ids), np.uint64) if rows.contents is None else rows.contents
        columns = {"size": rows.sizes, "content": contents}
        columns["id"] = np.array([image.encode() for image in rows.ids], ids.dtype)
        for name, values in columns.items():
            _extend(dataset(self._file, name), values)

    def append_failures(self, failures: Sequence[Failure]) -> None:
        """Adds images that gave no features."""
        data = dataset(self._file, "failed")
        _extend(data, np.array([(failure.id.encode(), _reason(failure)) for failure in failures], data.dtype))

    def seal(self) -> None:
        """Nothing more will come: counts, and the mark that the file is complete."""
        self._features.close()
        self._file.attrs["count"] = len(dataset(self._file, "id"))
        self._file.attrs["failed_count"] = len(dataset(self._file, "failed"))
        self._file.flush()
        self._file.attrs["complete"] = True


@contextmanager
def replacing(path: Path, spec: Spec, dim: int, dtype: str, widths: Widths) -> Iterator[NewFile]:
    """A new file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    Raises StoreError when the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with GuardedFile(temporary) as disk:
            with h5py.File(disk, "w", libver=("v110", "v110")) as file:
                _create(file, spec, dim, dtype, widths)
                new = NewFile(file)
                yield new
                new.seal()
            disk.settle()
        temporary.replace(path)
        _sync_folder(path.parent)
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


def not_finite(features: np.ndarray) -> np.ndarray:
    """The rows of (n, D) float16 or float32 features that hold NaN or infinity: numbers whose exponent is all ones."""
    exponent = np.array(np.inf, features.dtype).view(f"u{features.itemsize}")
    block = max(1, CHUNK_BYTES // max(1, features.shape[1] * features.itemsize))
    found = [np.empty(0, np.int64)]
    for start in range(0, len(features), block):
        exponents = np.ascontiguousarray(features[start : start + block]).view(exponent.dtype) & exponent
        if exponents.max(initial=0) == exponent:
            found.append(start + np.flatnonzero((exponents == exponent).any(axis=1)))
    return np.concatenate(found)


def not_ids(texts: list[str]) -> list[str]:
    """Those that HDF5 would not keep as they are: empty, with NUL (the end of a text), or with a lone surrogate."""
    together = "".join(texts)
    if together.isascii() and "\0" not in together and "" not in texts:
        return []
    return [text for text in texts if not text or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text)]


@contextmanager
def opening(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading and checked: a finished file of this format and version, whose spec is unharmed."""
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise StoreError(f"There is no feature store at {path}; extract the features first.") from error
    except DAMAGE as error:
        if isinstance(error, IsADirectoryError) or "signature not found" in str(error):
            raise StoreError(f"{path} is not an HDF5 file; delete it and extract again.") from error
        raise _damaged(path, error, "delete it and extract again, or restore a copy") from error
    with file:
        try:
            _check(file, path)
        except DAMAGE as error:
            raise _damaged(path, error, "delete it and extract again, or restore a copy") from error
        try:
            yield file
        except DAMAGE as error:
            raise _damaged(path, error, "`probe cache verify` tells which rows; or restore a copy") from error


def is_store(path: Path) -> bool:
    """Whether an HDF5 file is a feature store, finished or not. Raises StoreError for a file that is not HDF5."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return file.attrs.get("format") == FORMAT.encode()
    except DAMAGE as error:
        raise StoreError(f"{path} is not an HDF5 file ({first_line(error)}).") from error


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{name} is not a dataset")
    return found


def read_text(file: h5py.File, attribute: str) -> str:
    value = file.attrs[attribute]
    if not isinstance(value, bytes):
        raise TypeError(f"{attribute} is not text")
    return value.decode()


def read_ids(file: h5py.File) -> list[str]:
    """All ids in row order."""
    data = dataset(file, "id")
    block = max(1, TEXT_BLOCK_BYTES // data.dtype.itemsize)
    blocks = (data[start : start + block] for start in range(0, len(data), block))
    return [image.decode() for raw in blocks for image in raw.tolist()]


def read_failures(file: h5py.File) -> list[Failure]:
    return [Failure(image.decode(), reason.decode()) for image, reason in dataset(file, "failed")[:].tolist()]


def _damaged(path: Path, error: BaseException, remedy: str) -> StoreError:
    return StoreError(f"{path} is damaged ({first_line(error)}); {remedy}.")


def _extend(data: h5py.Dataset, values: np.ndarray) -> None:
    start = len(data)
    data.resize(start + len(values), axis=0)
    data[start:] = values


def _reason(failure: Failure) -> bytes:
    """A decoder's message may hold anything, such as a file name that is not Unicode."""
    return failure.reason.replace("\0", "\\0").encode(errors="backslashreplace")


def _create(file: h5py.File, spec: Spec, dim: int, dtype: str, widths: Widths) -> None:
    texts = {field: h5py.string_dtype("utf-8", width) for field, width in widths._asdict().items()}
    rows = max(1, CHUNK_BYTES // (dim * np.dtype(dtype).itemsize))
    file.create_dataset("features", (0, dim), dtype, maxshape=(None, dim), chunks=(rows, dim), fletcher32=True)
    file.create_dataset("size", (0, 2), "int32", maxshape=(None, 2), chunks=(8192, 2), fletcher32=True)
    file.create_dataset("content", (0,), "uint64", maxshape=(None,), chunks=(16384,), fletcher32=True)
    for name, kind in (("id", texts["id"]), ("failed", np.dtype(list(texts.items())))):
        rows = max(1, CHUNK_BYTES // kind.itemsize)
        file.create_dataset(
            name, (0,), kind, maxshape=(None,), chunks=(rows,), fletcher32=True, compression="gzip", compression_opts=1
        )
    for name, value in (("format", FORMAT), ("spec", canonical_json(spec)), ("fingerprint", fingerprint(spec))):
        file.attrs.create(name, value.encode(), dtype=h5py.string_dtype("utf-8", len(value.encode())))
    file.attrs["version"] = VERSION
    file.attrs["complete"] = False


def _check(file: h5py.File, path: Path) -> None:
    attributes: dict[str, Any] = dict(file.attrs)
    if attributes.get("format") != FORMAT.encode():
        raise StoreError(f"{path} is an HDF5 file but not a feature store; name another file.")
    if attributes["version"] != VERSION:
        raise StoreError(
            f"{path} has format version {attributes['version']} and this release reads version {VERSION}; "
            "use the release of probe that wrote it, or extract again."
        )
    if not attributes.get("complete"):
        raise StoreError(f"{path} was never finished; delete it and extract again.")
    if hashlib.sha256(attributes["spec"]).hexdigest().encode() != attributes["fingerprint"]:
        raise OSError("its spec does not match its fingerprint")
    counts = {len(dataset(file, name)) for name in ("features", "id", "size", "content")} | {int(attributes["count"])}
    if len(counts) != 1 or len(dataset(file, "failed")) != attributes["failed_count"]:
        raise OSError("its datasets disagree on the number of rows")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
