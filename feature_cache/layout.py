"""The HDF5 layout that a store and its part files share, and how it is read and checked.

`features` (N, D), `id` (N,) UTF-8, `size` (N, 2), `content` (N,) and `failed` (M,) of (id, reason), each with a digest
of every chunk beside it and a seal over all digests; the metadata has HDF5's own checksums. Texts have a fixed width,
the longest of the file, so that nothing lies in HDF5's unchecked heap.

    with opening(path) as file:
        read_ids(file), read_column(file, "size"), features_of(file).between(0, 1000)
"""

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from feature_cache.chunks import ChunkReader, chunk_rows, column_of, read_chunk
from feature_cache.digests import COLUMNS, seal
from feature_cache.disk import require_regular
from feature_cache.errors import StoreError, first_line
from feature_cache.spec import Remarks

FORMAT = "feature-cache"
VERSION = 2
SEALED = 2  # the first version with digests
CHUNK_BYTES = 1 << 20
MOST_DEFLATED = 1040  # bytes that a byte of gzip can stand for
TYPES = {"features": ("float16", "float32"), "size": ("int32",), "content": ("uint64",)}
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises on damaged files
# what says nothing of the file itself
OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
REPLACE = "delete it and extract again, or restore a copy"
VERIFY = "`probe cache verify` tells which rows; or restore a copy"


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


class Identity(NamedTuple):
    """Of an open file: another one, or one that was written to since, has another."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Failure(NamedTuple):
    """An image that gave no features, and why."""

    id: str
    reason: str


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
def opening(path: Path, remedy: str = VERIFY, checked: Identity | None = None) -> Iterator[h5py.File]:
    """The file, open for reading and checked: a finished file of this format and version, whose spec is unharmed.

    `checked`: the identity of a file that has been checked already; it is not checked again.
    """
    require_regular(path)
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise StoreError(f"There is no feature store at {path}; extract the features first.") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
            raise StoreError(
                f"{path} cannot be opened ({os.strerror(error.errno or 0)}); it may be whole, so mend that first."
            ) from error
        if isinstance(error, IsADirectoryError) or "signature not found" in str(error):
            raise StoreError(f"{path} is not an HDF5 file; delete it and extract again.") from error
        raise _damaged(path, error, REPLACE) from error
    with file:
        try:
            if identity(file) != checked:
                _check(file, path)
        except DAMAGE as error:
            raise _damaged(path, error, REPLACE) from error
        try:
            yield file
        except DAMAGE as error:
            raise _damaged(path, error, remedy) from error


def identity(file: h5py.File) -> Identity:
    found = os.fstat(file.id.get_vfd_handle())
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def is_store(path: Path) -> bool:
    """Whether an HDF5 file is a feature store, finished or not. Raises StoreError for a file that is not HDF5."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return file.attrs.get("format") == FORMAT.encode()
    except DAMAGE as error:
        raise StoreError(f"{path} is not an HDF5 file ({first_line(error)}).") from error


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset that lies in the file itself: links and external storage would be read from anywhere."""
    found = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise KeyError(f"{name} is not a dataset of this file")
    return found


def features_of(file: h5py.File) -> ChunkReader:
    return ChunkReader(dataset(file, "features"), _digests(file, "features"))


def column_chunks(file: h5py.File, name: str) -> Iterator[tuple[slice, np.ndarray | None]]:
    """The rows of a column other than the features, chunk by chunk; None for a chunk that is not what was written."""
    data, digests = dataset(file, name), _digests(file, name)
    step = chunk_rows(data)
    for start in range(0, len(data), step):
        part = slice(start, min(start + step, len(data)))
        try:
            values = data[part] if digests is None else read_chunk(data, start, digests[start // step])
        except (*DAMAGE, zlib.error):
            values = None
        yield part, values


def read_column(file: h5py.File, name: str) -> np.ndarray:
    """All rows. Raises OSError when a chunk does not match its digest."""
    rows, lost = read_what_is_left(file, name)
    if lost:
        raise OSError(f"`{name}` of rows {lost[0].start:,} to {lost[0].stop - 1:,} does not match its digest")
    return rows


def read_what_is_left(file: h5py.File, name: str) -> tuple[np.ndarray, list[slice]]:
    """All rows, with zeros for those of the slices, which are not what was written."""
    data = dataset(file, name)
    rows, lost = np.zeros(data.shape, data.dtype), []
    for part, values in column_chunks(file, name):
        if values is None:
            lost.append(part)
        else:
            rows[part] = values
    return rows, lost


def read_text(file: h5py.File, attribute: str) -> str:
    value = file.attrs[attribute]
    if not isinstance(value, bytes):
        raise TypeError(f"{attribute} is not text")
    return value.decode()


def read_remarks(file: h5py.File) -> Remarks:
    """Each is an attribute of its name; one that is not there was not told."""
    told = {name: json.loads(read_text(file, name)) for name in Remarks._fields if name in file.attrs}
    location = told.get("weights", {})
    if not all(isinstance(remark, dict) for remark in told.values()) or not all(
        isinstance(text, str) for text in location.values()
    ):
        raise TypeError(f"what it says of its {' and '.join(told)} is not what was written")
    return Remarks(**told)


def read_ids(file: h5py.File) -> list[str]:
    """All ids in row order."""
    return [image.decode() for image in read_column(file, "id").tolist()]


def read_failures(file: h5py.File) -> list[Failure]:
    return [Failure(image.decode(), reason.decode()) for image, reason in read_column(file, "failed").tolist()]


def _damaged(path: Path, error: BaseException, remedy: str) -> StoreError:
    return StoreError(f"{path} is damaged ({first_line(error)}); {remedy}.")


def digests_of(column: str) -> str:
    return f"{column}_digest"


def _digests(file: h5py.File, column: str) -> np.ndarray | None:
    """(chunks,) uint64; None in a version that has none."""
    return dataset(file, digests_of(column))[:] if is_sealed(file) else None


def is_sealed(file: h5py.File) -> bool:
    """Whether the file has digests."""
    return bool(int(np.asarray(file.attrs["version"])) >= SEALED)


def sealed_facts(file: h5py.File) -> str:
    """What else than the columns the seal is of."""
    features = dataset(file, "features")
    about = [file.attrs[name] for name in ("version", "count", "failed_count")]
    remarks = "".join(f" {read_text(file, name)}" for name in Remarks._fields if name in file.attrs)
    return f"{read_text(file, 'fingerprint')} {features.shape} {features.dtype} {about}{remarks}"


def _check(file: h5py.File, path: Path) -> None:
    attributes: dict[str, Any] = dict(file.attrs)
    if attributes.get("format") != FORMAT.encode():
        raise StoreError(f"{path} is an HDF5 file but not a feature store; name another file.")
    if attributes["version"] not in range(1, VERSION + 1):
        raise StoreError(
            f"{path} has format version {attributes['version']} and this release reads versions 1 to {VERSION}; "
            "use the release of probe that wrote it, or extract again."
        )
    if not attributes.get("complete"):
        raise StoreError(f"{path} was never finished; delete it and extract again.")
    if hashlib.sha256(attributes["spec"]).hexdigest().encode() != attributes["fingerprint"]:
        raise OSError("its spec does not match its fingerprint")
    columns = {name: dataset(file, name) for name in COLUMNS}
    for name, data in columns.items():
        _require_form(name, data)
    counts = {len(data) for name, data in columns.items() if name != "failed"} | {int(attributes["count"])}
    if len(counts) != 1 or len(columns["failed"]) != attributes["failed_count"]:
        raise OSError("its datasets disagree on the number of rows")
    if is_sealed(file):
        digests = {name: dataset(file, digests_of(name))[:] for name in COLUMNS}
        if seal(sealed_facts(file), digests) != read_text(file, "seal"):
            raise OSError("its digests do not match their seal")


def _require_form(name: str, data: h5py.Dataset) -> None:
    """Raises OSError for a column that no writer made, such as one of more rows than the file could hold."""
    texts = [data.dtype[field] for field in data.dtype.names or ()] if name == "failed" else [data.dtype]
    if name in ("id", "failed"):
        fits = data.ndim == 1 and bool(texts) and all(kind.kind == "S" and kind.itemsize for kind in texts)
    else:
        fits = (
            data.ndim == (1 if name == "content" else 2) and data.dtype.name in TYPES[name] and 0 not in data.shape[1:]
        )
    if not fits:
        raise OSError(f"its `{name}` is no column of a feature store")
    require_stored(data)


def require_stored(data: h5py.Dataset) -> None:
    """Raises OSError for a dataset that claims more than the file has room for."""
    packed = data.id.get_storage_size() * (MOST_DEFLATED if data.compression else 1)
    if packed < data.size * data.dtype.itemsize:
        raise OSError(f"`{column_of(data)}` claims more rows than the file could hold")
