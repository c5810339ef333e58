"""Features that other programs made: .npy with an id list, Parquet, clip-retrieval's folders, ILIAS's HDF5 files.

A store made from them records that their provenance is foreign: the files and their digests, and nothing about the
backbone, which nobody here saw.

    found = read_foreign("laion.npy", ids="laion.txt")
    with StoreWriter(path, found.spec, dtype=found.dtype) as writer:
        found.write(writer)
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from feature_cache import parquet
from feature_cache.disk import require_regular
from feature_cache.errors import StoreError, first_line
from feature_cache.layout import DAMAGE, FORMAT, Rows, dataset, require_stored
from feature_cache.spec import Spec
from feature_cache.writer import StoreWriter

FOREIGN = "foreign"  # what the spec of an imported store has under `provenance`
STORABLE = ("float16", "float32")
HDF5_NAMES = ("index", "features")  # ILIAS's
PART_BYTES = 256 << 20
TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("entry", "<u4")])  # of any length, as a dataset has it
HEAP, HEAP_HEADER, HEAP_ENTRY = b"GCOL", 16, 16  # bytes of a heap's header, and of that of each entry


class Matrix(Protocol):
    """Rows on disk: a NumPy memory map, an HDF5 dataset or a Parquet column."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Shard:
    """One file's ids (n) and features (n, D)."""

    file: Path
    ids: list[str]
    features: Matrix

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, D): those rows. Raises StoreError when they cannot be read."""
        try:
            return np.asarray(self.features[start:stop])
        except DAMAGE as error:
            raise StoreError(f"{self.file} cannot be read ({first_line(error)}); fetch it again.") from error

    def without_prefix(self, prefix: str) -> "Shard":
        """The same with `prefix` taken off the front of each id. Raises StoreError for an id without it."""
        if not prefix:
            return self
        other = next((image for image in self.ids if not image.startswith(prefix)), None)
        if other is not None:
            raise StoreError(f"{self.file}: the id {other} does not begin with {prefix}, which --strip takes off.")
        return Shard(self.file, [image.removeprefix(prefix) for image in self.ids], self.features)


@dataclass(frozen=True)
class ForeignFeatures:
    """What was found: shards in order, the spec of a store of them, and the dtype that they will be stored as."""

    spec: Spec
    dtype: str
    shards: list[Shard]

    def __len__(self) -> int:
        return sum(len(shard.ids) for shard in self.shards)

    def write(self, writer: StoreWriter, advance: Callable[[int], None] = lambda rows: None) -> None:
        """Adds what the writer lacks and finishes; `advance` is told of the rows.

        Raises StoreError for a value that is not finite in the store's dtype.
        """
        done = writer.done
        for shard in self.shards:
            step = max(1, PART_BYTES // (shard.features.shape[1] * shard.features.dtype.itemsize))
            for start in range(0, len(shard.ids), step):
                ids = shard.ids[start : start + step]
                new = np.array([image not in done for image in ids], bool)
                if new.any():
                    features = shard.read(start, start + len(ids))
                    _add(writer, Rows(ids, features, np.zeros((len(ids), 2), np.int32)).select(new), shard.file)
                advance(len(ids))
        writer.finish()


def read_foreign(
    path: str | Path,
    *,
    ids: str | Path | None = None,
    id_column: str | None = None,
    vector_column: str | None = None,
    strip: str = "",
    dtype: str | None = None,
) -> ForeignFeatures:
    """Looks at a file or folder of features, without reading them yet.

    `path`: a .npy (N, D) with `ids`, a file of one id a line (.txt), a JSON list or a Parquet column; a .parquet, or a
    folder of them, with a column of ids and one of vectors; a folder of clip-retrieval (`img_emb`, `metadata`); an HDF5
    file with one dataset of vectors and one of ids (ILIAS publishes `features` and `index`), or a folder of such files.
    `strip` is taken off the front of each id, so that it becomes a path relative to the source's root.

    Raises StoreError for whatever does not fit.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"There is nothing at {path} to import.")
    if (ids is not None) != (path.suffix == ".npy"):
        raise StoreError(f"{path}: --ids goes with a .npy file, whose rows have no names; give both or neither.")
    if path.suffix == ".npy":
        kind, shards = "npy", [Shard(path, read_ids(Path(str(ids)), id_column), memory_map(path))]
    elif path.is_dir() and (path / "img_emb").is_dir():
        kind, shards = "clip-retrieval", _clip_retrieval(path, id_column)
    elif path.is_dir() or path.suffix == ".parquet":
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        kind, shards = (
            "parquet",
            [Shard(file, parquet.ids(file, id_column), parquet.ParquetVectors(file, vector_column)) for file in files],
        )
    else:
        kind, shards = "hdf5", [_hdf5(path)]
    if path.is_dir() and not shards:
        kind, shards = "hdf5", [_hdf5(file) for file in sorted((*path.glob("*.h5"), *path.glob("*.hdf5")))]
    if not any(shard.ids for shard in shards):
        raise StoreError(f"{path} holds no features (.parquet, .hdf5, or img_emb/img_emb_*.npy); name their file.")
    shards = [shard.without_prefix(strip) for shard in shards]
    require_sound(shards)
    dtype = dtype or _common_dtype(shards)
    spec = {
        "provenance": FOREIGN,
        "format": kind,
        "files": [_sha256(shard.file) for shard in shards],
        "ids": hashlib.sha256(
            "\0".join(image for shard in shards for image in shard.ids).encode(errors="replace")
        ).hexdigest(),
        "dtype": dtype,
    }
    return ForeignFeatures(spec, dtype, shards)


def _add(writer: StoreWriter, rows: Rows, file: Path) -> None:
    try:
        writer.add(rows)
    except StoreError as error:
        raise StoreError(f"{file}: {error}") from error


def memory_map(path: Path) -> np.ndarray:
    """The array of a .npy file, left on disk. Raises StoreError for anything else, pickles and archives too."""
    require_regular(path)
    try:
        with np.errstate(over="ignore"):  # of a shape that no file holds, which is an error by itself
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy parses the header as Python, and raises whatever that raises
        raise StoreError(f"{path} is not a .npy file of numbers or texts ({first_line(error)}).") from error


def _clip_retrieval(folder: Path, id_column: str | None) -> list[Shard]:
    shards = []
    for file in sorted((folder / "img_emb").glob("img_emb_*.npy")):
        metadata = folder / "metadata" / f"{file.stem.replace('img_emb', 'metadata')}.parquet"
        shards.append(Shard(file, read_ids(metadata, id_column), memory_map(file)))
    return shards


def _hdf5(path: Path) -> Shard:
    require_regular(path)
    try:
        file = h5py.File(path, "r", locking=False)
        if file.attrs.get("format") == FORMAT.encode():
            raise StoreError(f"{path} is a feature store already; copy it to where stores lie.")
        own = (str(name) for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink))
        found = {name: dataset(file, name) for name in own if isinstance(file[name], h5py.Dataset)}
        ids, features = (_the_only(found, fits, what) for what, fits in (("ids", _is_text), ("vectors", _is_matrix)))
        for data in (ids, features):
            require_stored(data)
        _require_sound_heaps(path)
        _require_sound_lengths(path, ids)
        return Shard(path, [str(image) for image in ids.asstr("utf-8")[:]], features)
    except DAMAGE as error:
        raise StoreError(
            f"{path} is neither .npy, .parquet, a folder of clip-retrieval, nor HDF5 with one dataset of vectors and "
            f"one of ids, such as `features` and `index` ({first_line(error)})."
        ) from error


def _require_sound_heaps(path: Path) -> None:
    """HDF5 keeps texts of any length in heaps, and walks from entry to entry: on one of no size it stays for ever.

    Raises ValueError for an entry that does not end within its heap (HDF5's File Format Specification, III.E).
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        start = content.find(HEAP)
        while start >= 0:
            entry, end = start + HEAP_HEADER, start + int.from_bytes(content[start + 8 : start + 16], "little")
            is_heap = content[start + 4] == 1 and end <= len(content)
            while is_heap and entry + HEAP_ENTRY <= end:
                size = int.from_bytes(content[entry + 8 : entry + 16], "little")
                is_free = content[entry : entry + 2] == bytes(2)
                step = size if is_free else HEAP_ENTRY + -(-size // 8) * 8
                if not 0 < step <= end - entry:
                    raise ValueError(f"the heap at byte {start:,} is damaged")
                entry += step
            start = content.find(HEAP, start + len(HEAP))


def _require_sound_lengths(path: Path, texts: h5py.Dataset) -> None:
    """HDF5 clears memory for the length that it finds of a text, up to 4 GB, before it looks for the text.

    Raises ValueError where the lengths are more than the file. Those in filtered chunks are not looked at.
    """
    kind = h5py.check_string_dtype(texts.dtype)
    if kind is None or kind.length is not None or texts.id.get_create_plist().get_nfilters():
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        found = sum(
            int(np.frombuffer(content[start : start + size - size % TEXT.itemsize], TEXT)["length"].sum(dtype=np.int64))
            for start, size in _places(texts)
        )
        if found > len(content):
            raise ValueError(f"the lengths of the texts of {texts.name} come to {found:,} bytes, more than the file")


def _places(data: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Offset and size in the file, of each chunk or of the whole."""
    if data.chunks is not None:
        chunks = (data.id.get_chunk_info(number) for number in range(data.id.get_num_chunks()))
        yield from ((chunk.byte_offset, chunk.size) for chunk in chunks)
    elif (start := data.id.get_offset()) is not None:
        yield start, len(data) * TEXT.itemsize


def _the_only(found: dict[str, h5py.Dataset], fits: Callable[[h5py.Dataset], bool], what: str) -> h5py.Dataset:
    """The dataset that fits, at the root of the file; by its usual name where several do."""
    fitting = [name for name in found if fits(found[name])]
    usual = [name for name in fitting if name in HDF5_NAMES]
    if len(usual or fitting) != 1:
        raise KeyError(f"{len(fitting)} datasets of {what} among {', '.join(found) or 'none'}")
    return found[(usual or fitting)[0]]


def _is_text(data: h5py.Dataset) -> bool:
    return data.ndim == 1 and h5py.check_string_dtype(data.dtype) is not None


def _is_matrix(data: h5py.Dataset) -> bool:
    return data.ndim == 2 and data.dtype.kind == "f"


def read_ids(path: Path, column: str | None = None) -> list[str]:
    """Ids from a text file, one a line, a JSON list, a .npy of strings, or a column of a Parquet or CSV file."""
    if path.suffix == ".parquet":
        return parquet.ids(path, column)
    require_regular(path)
    if path.suffix == ".csv":
        return _csv_ids(path, column)
    if path.suffix == ".npy":
        return _npy_ids(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n") if text else []
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"--ids {path} cannot be read ({error}).") from error
    if not isinstance(found, list) or not all(isinstance(image, str) for image in found):
        raise StoreError(f"--ids {path} is not a JSON list of texts.")
    return found


def _csv_ids(path: Path, column: str | None) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            column = column or next((name for name in parquet.ID_COLUMNS if name in names), None)
            if column not in names:
                raise StoreError(
                    f"--ids {path} has no column of ids among {', '.join(names) or 'none'}; call one "
                    f"{', '.join(parquet.ID_COLUMNS[:-1])} or {parquet.ID_COLUMNS[-1]}, or name it with --id-column."
                )
            found = [row[column] for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise StoreError(f"--ids {path} cannot be read ({error}).") from error
    if not all(found):
        row = next(number for number, image in enumerate(found, 1) if not image)
        raise StoreError(f"--ids {path}: row {row:,} has no id in the column {column}.")
    return found


def _npy_ids(path: Path) -> list[str]:
    array = memory_map(path)
    if array.ndim != 1 or array.dtype.kind != "U":
        raise StoreError(f"--ids {path} holds {array.dtype} of shape {array.shape}; ids are (N,) strings.")
    return array.tolist()


def require_sound(shards: list[Shard]) -> None:
    """Raises StoreError for features that are not (N, D) floats, as many as their ids, and ids that are there twice."""
    for shard in shards:
        shape = shard.features.shape
        if len(shape) != 2 or shape[1] == 0 or shard.features.dtype.kind != "f":
            raise StoreError(
                f"{shard.file} holds {shard.features.dtype} of shape {shape}; features are (N, D), floating-point."
            )
        if shape[0] != len(shard.ids):
            raise StoreError(
                f"{shard.file} has {shape[0]:,} features and {len(shard.ids):,} ids; they must be as many."
            )
        if shape[1] != shards[0].features.shape[1]:
            raise StoreError(
                f"{shard.file} has {shape[1]} dimensions and {shards[0].file} {shards[0].features.shape[1]}; "
                "they are not of one backbone."
            )
    twice = [image for image, count in Counter(image for shard in shards for image in shard.ids).items() if count > 1]
    if twice:
        raise StoreError(f"{shards[0].file}: {len(twice):,} ids occur more than once ({', '.join(twice[:5])}).")


def _common_dtype(shards: list[Shard]) -> str:
    found = {shard.features.dtype.name for shard in shards}
    if len(found) != 1 or found.isdisjoint(STORABLE):
        raise StoreError(
            f"{shards[0].file} holds {' and '.join(sorted(found))}; say what to store with --dtype float32 or float16."
        )
    return found.pop()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
