"""The HDF5 layout that a store and its part files share, and the only place that names datasets and attributes.

`features` (N, D), `id` (N,), `size` (N, 2) and `failed` (M,) of (id, reason); every number is Fletcher-32 checked,
the ids by a SHA-256 in the root attributes, the metadata by HDF5's own checksums. A file comes into being under a
temporary name and is renamed when it is whole, so a file that bears its final name is never half-written.

    with replacing(path, spec, dim=768, dtype="float16") as file:
        append(file, Rows(ids, features, sizes))
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from feature_cache.errors import StoreError
from feature_cache.spec import Spec, canonical_json, fingerprint

FORMAT = "feature-cache"
VERSION = 1
CHUNK_BYTES = 1 << 20

_TEXT = h5py.string_dtype("utf-8")
_FAILURE = np.dtype([("id", _TEXT), ("reason", _TEXT)])


@dataclass(frozen=True)
class Rows:
    """Some images' features: `ids` (n), `features` (n, D) and `sizes` (n, 2), the originals' width and height."""

    ids: Sequence[str]
    features: np.ndarray
    sizes: np.ndarray


class Failure(NamedTuple):
    """An image that gave no features, and why."""

    id: str
    reason: str


@contextmanager
def replacing(path: Path, spec: Spec, dim: int, dtype: str) -> Iterator[h5py.File]:
    """A new file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            _create(file, spec, dim, dtype)
            yield file
            _seal(file)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} could not be written ({_first_line(error)}); make room and start again.") from error
    finally:
        temporary.unlink(missing_ok=True)


def append(file: h5py.File, rows: Rows) -> None:
    """Adds rows at the end."""
    features, ids, sizes = dataset(file, "features"), dataset(file, "id"), dataset(file, "size")
    start, stop = len(ids), len(ids) + len(rows.ids)
    for data in (features, ids, sizes):
        data.resize(stop, axis=0)
    features[start:] = rows.features
    ids[start:] = list(rows.ids)
    sizes[start:] = rows.sizes


def append_failures(file: h5py.File, failures: Sequence[Failure]) -> None:
    """Adds images that gave no features."""
    data = dataset(file, "failed")
    start = len(data)
    data.resize(start + len(failures), axis=0)
    data[start:] = np.array([tuple(failure) for failure in failures], dtype=_FAILURE)


@contextmanager
def opening(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading and checked: a finished file of this format and version, whose spec is unharmed."""
    if not path.exists():
        raise StoreError(f"There is no feature store at {path}; extract the features first.")
    if not h5py.is_hdf5(path):
        raise StoreError(f"{path} is not an HDF5 file; delete it and extract again.")
    try:
        with h5py.File(path, "r") as file:
            _check(file, path)
            yield file
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} is damaged ({_first_line(error)}); delete it and extract again, or restore a copy."
        ) from error


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{name} is not a dataset")
    return found


def read_ids(file: h5py.File) -> list[str]:
    """All ids in row order, checked against the digest that was written with them."""
    raw = dataset(file, "id")[:]
    if _ids_digest(raw) != file.attrs["id_sha256"]:
        raise OSError("its ids do not match their checksum")
    return [value.decode() for value in raw]


def read_failures(file: h5py.File) -> list[Failure]:
    return [Failure(row["id"].decode(), row["reason"].decode()) for row in dataset(file, "failed")[:]]


def _create(file: h5py.File, spec: Spec, dim: int, dtype: str) -> None:
    rows = max(1, CHUNK_BYTES // (dim * np.dtype(dtype).itemsize))
    file.create_dataset("features", (0, dim), dtype, maxshape=(None, dim), chunks=(rows, dim), fletcher32=True)
    file.create_dataset("id", (0,), _TEXT, maxshape=(None,))
    file.create_dataset("size", (0, 2), "int32", maxshape=(None, 2), chunks=(8192, 2), fletcher32=True)
    file.create_dataset("failed", (0,), _FAILURE, maxshape=(None,))
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file.attrs["spec"] = canonical_json(spec)
    file.attrs["fingerprint"] = fingerprint(spec)
    file.attrs["complete"] = False


def _seal(file: h5py.File) -> None:
    file.attrs["id_sha256"] = _ids_digest(dataset(file, "id")[:])
    file.attrs["count"] = len(dataset(file, "id"))
    file.attrs["failed_count"] = len(dataset(file, "failed"))
    file.flush()
    file.attrs["complete"] = True


def _check(file: h5py.File, path: Path) -> None:
    attributes: dict[str, Any] = dict(file.attrs)
    if attributes.get("format") != FORMAT:
        raise StoreError(f"{path} is an HDF5 file but not a feature store; name another file.")
    if attributes["version"] != VERSION:
        raise StoreError(
            f"{path} has format version {attributes['version']} and this release reads version {VERSION}; "
            "use the release of probe that wrote it, or extract again."
        )
    if not attributes.get("complete"):
        raise StoreError(f"{path} was never finished; delete it and extract again.")
    if hashlib.sha256(attributes["spec"].encode()).hexdigest() != attributes["fingerprint"]:
        raise OSError("its spec does not match its fingerprint")
    counts = {len(dataset(file, name)) for name in ("features", "id", "size")} | {int(attributes["count"])}
    if len(counts) != 1 or len(dataset(file, "failed")) != attributes["failed_count"]:
        raise OSError("its datasets disagree on the number of rows")


def _ids_digest(raw: np.ndarray) -> str:
    return hashlib.sha256(b"\0".join(raw.tolist())).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: BaseException) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
