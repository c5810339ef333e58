"""Embeddings that were made elsewhere, from whatever file they came in, joined to a manifest's rows by image id.

An id is an image's path relative to its source, or `source/image`. What the manifest needs and the file lacks is an
error; what the file has and the manifest does not know is counted.

    embeddings = read_embeddings(Path("mine.npy"), manifest, ids=Path("mine.txt"))
    embeddings.vectors("test", "cosine")      # a vector for each row of manifest.split("test")
"""

import shlex
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from feature_cache import (
    FeatureStore,
    Shard,
    StoreError,
    is_store,
    memory_map,
    polars_engine,
    read_foreign,
    read_ids,
    read_parquet,
    require_sound,
)
from probe.data import Manifest
from probe.errors import UsageError, first_line, nearest
from probe.evaluate.descriptors import read_descriptors
from probe.search import Distance, Vectors

ACCEPTED = (
    "UnED's JSON of descriptors (.json), .npy with --ids, .npz with `embeddings` and `ids`, HDF5 with vectors and ids "
    "(.h5, .hdf5), or .parquet"
)
HDF5 = (".h5", ".hdf5", ".hdf")
KINDS = (".json", ".npy", ".npz", ".parquet", *HDF5)
BLOCK_BYTES = 64 << 20
SHOWN = 5
UNPACKED = 100  # times its size: more is no embeddings


@dataclass(frozen=True)
class Embeddings:
    """What a file, or a folder of files, holds, `shards` of ids and vectors, for a manifest's images."""

    path: Path
    shards: list[Shard]
    manifest: Manifest

    def __len__(self) -> int:
        return sum(len(shard.ids) for shard in self.shards)

    @property
    def dim(self) -> int:
        return int(self.shards[0].features.shape[1])

    @cached_property
    def ids(self) -> pl.Series:
        """(N,) in NFC, as manifests have them. Raises UsageError for one that is there twice."""
        texts = [image for shard in self.shards for image in shard.ids]
        try:
            ids = pl.Series("id", texts, dtype=pl.String).str.normalize("NFC")
        except UnicodeEncodeError as error:
            raise UsageError(f"{self.path} has an id that is not Unicode text ({first_line(error)}).") from error
        twice = ids.filter(ids.is_duplicated())
        if len(twice):
            raise UsageError(
                f"{self.path} has {twice.n_unique():,} id(s) more than once, the first is {twice[0]}; an image has one "
                "embedding."
            )
        return ids

    @property
    def unknown(self) -> int:
        """How many of the ids are of no image of the manifest."""
        return len(self) - len(self._places)

    def vectors(self, split: str, distance: Distance) -> Vectors:
        """(M, D), a vector for each row of a split of the manifest.

        Raises UsageError for images without one, with their number and the first five; for an id that could mean two
        images, and two that mean one; and for a vector that is not finite or, by cosine, zero, with its id.
        """
        manifest = self.manifest
        rows = manifest.split(split)
        if rows.is_empty():
            raise UsageError(f"{manifest.where} has no rows in its split '{split}'.")
        rows = rows.join(self._places, on=["source", "image"], how="left", maintain_order="left")
        missing = rows.filter(pl.col("row").is_null()).select("source", "image").unique(maintain_order=True)
        if len(missing):
            several = len(manifest.sources) > 1
            names = [f"{source}/{image}" if several else image for source, image in missing.head(SHOWN).iter_rows()]
            total = rows.n_unique(["source", "image"])
            raise UsageError(
                f"{self.path} lacks {len(missing):,} of the {total:,} images of the {split} split of {manifest.where} "
                f"({', '.join(names)}{', ...' if len(missing) > SHOWN else ''}); embed them "
                f"too, under their path or source/path (an id of the file: {self.ids[0]}){self._advice(missing)}."
            )
        needed, place = np.unique(rows["row"].to_numpy(), return_inverse=True)
        [first, *others] = self.shards
        if not others and isinstance(first.features, np.memmap):
            self._require_usable(first.features, needed, needed, distance)
            return Vectors(first.features, needed[place])
        gathered = self._gathered(needed)
        self._require_usable(gathered, np.arange(len(needed)), needed, distance)
        return Vectors(gathered, place)

    def _advice(self, missing: pl.DataFrame) -> str:
        """What to do where no id is known, but one ends with the first missing image or writes it with backslashes."""
        image = missing["image"][0]
        written = self.ids.str.replace_all("\\", "/", literal=True)
        alike = self.ids.filter((written == image) | written.str.ends_with(f"/{image}"))
        if len(self._places) or len(alike) != 1:
            return ""
        [found] = alike
        if "\\" in found:
            return f"; is {found} one of them? then write ids with / for each backslash"
        return f"; is {found} one of them? then add --strip {shlex.quote(found.removesuffix(image))}"

    @cached_property
    def _places(self) -> pl.DataFrame:
        """source, image and the row of its vector, of the images of the manifest that the file has."""
        images = self.manifest.frame.select("source", "image").unique(maintain_order=True)
        named = pl.concat(
            [
                images.with_columns(id=pl.col("image")),
                images.with_columns(id=pl.concat_str("source", "image", separator="/")),
            ]
        )
        rows = pl.DataFrame({"id": self.ids}).with_row_index("row")
        found = rows.join(named, on="id", how="inner", maintain_order="left")
        ambiguous = found.filter(pl.col("id").is_duplicated())
        if len(ambiguous):
            image = ambiguous["id"][0]
            sources = ambiguous.filter(pl.col("id") == image)["source"].sort().to_list()
            raise UsageError(
                f"{self.path}: the id {image} means an image of {' and one of '.join(sources)}; write source/image."
            )
        again = found.filter(pl.struct("source", "image").is_duplicated())
        if len(again):
            pair = again.join(again.head(1), on=["source", "image"], how="semi")["id"].to_list()
            raise UsageError(f"{self.path}: the ids {' and '.join(pair)} mean one image; keep one of them.")
        return found.drop("id")

    def _gathered(self, needed: np.ndarray) -> np.ndarray:
        """The rows `needed` (M,), sorted, in memory (M, D); files are read from front to back, some rows at a time."""
        gathered = np.empty((len(needed), self.dim), np.result_type(*(shard.features.dtype for shard in self.shards)))
        start = 0
        for shard in self.shards:
            first, last = np.searchsorted(needed, (start, start + len(shard.ids)))
            _fill(gathered[first:last], shard, needed[first:last] - start)
            start += len(shard.ids)
        return gathered

    def _require_usable(self, values: np.ndarray, rows: np.ndarray, needed: np.ndarray, distance: Distance) -> None:
        """`rows` (M,) of `values` are the vectors of the ids `needed` (M,)."""
        step = max(1, BLOCK_BYTES // (self.dim * values.itemsize))
        for start in range(0, len(rows), step):
            block = values[rows[start : start + step]]
            infinite = np.flatnonzero(~np.isfinite(block).all(axis=1))
            zero = np.flatnonzero(~block.any(axis=1)) if distance == "cosine" else infinite[:0]
            for bad, what in ((infinite, "not finite"), (zero, "zero, which has no direction to compare")):
                if len(bad):
                    image = self.ids[int(needed[start + bad[0]])]
                    raise UsageError(f"{self.path}: the embedding of {image} is {what}.")


def require_readable(path: Path, ids: Path | None) -> None:
    """Raises UsageError for what no embeddings can be read from, without reading them."""
    if not path.exists():
        raise UsageError(f"there is nothing at {path} to score; name a run's folder, or embeddings: {ACCEPTED}.")
    if path.is_file() and not path.stat().st_size:
        raise UsageError(f"{path} is empty; embeddings come as {ACCEPTED}.")
    kind = path.suffix.lower()
    if ids is not None and kind not in (".npy", ".json"):
        raise UsageError(f"--ids goes with .npy and with UnED's JSON; {path} has its ids in it, so leave --ids out.")
    if ids is not None and not ids.exists():
        raise UsageError(f"there is no {ids}, which --ids names.")
    if kind == ".npy" and ids is None:
        raise UsageError(f"{path}: say with --ids which image each row is of, a file of one id a line.")
    if kind not in KINDS and not path.is_dir():
        raise UsageError(f"{path} is none of what embeddings come as: {ACCEPTED}.")


def read_embeddings(
    path: Path, manifest: Manifest, *, ids: Path | None = None, split: str = "test", strip: str = ""
) -> Embeddings:
    """The embeddings of a file or a folder of files.

    `ids`: for .npy, a file of one id a line (.txt), a JSON list, .npy of strings, or .csv or .parquet with a column
    `image` and, where there are several, `source`; for UnED's JSON by data set, its folder of info files. `strip` is
    taken off the front of each id. Raises UsageError or StoreError for whatever does not fit.
    """
    require_readable(path, ids)
    kind = path.suffix.lower()
    if kind == ".npy":
        shards = [Shard(path, _ids(Path(str(ids))), memory_map(path))]
    elif kind == ".npz":
        shards = [_npz(path)]
    elif kind == ".json":
        texts, vectors = read_descriptors(path, ids, split)
        shards = [Shard(path, texts, vectors)]
    elif kind in HDF5 and path.is_file():
        shards = [_stored(path)] if _is_store(path) else read_foreign(path, dtype="float32").shards
    else:
        shards = read_foreign(path, dtype="float32").shards
    try:
        shards = [shard.without_prefix(strip) for shard in shards]
    except StoreError as error:  # the option is wrong, not the file
        raise UsageError(str(error)) from error
    require_sound(shards)
    return Embeddings(path, shards, manifest)


class _Stored:
    """The features of a feature store, its digests checked as they are read."""

    def __init__(self, store: FeatureStore) -> None:
        self._store, self.shape, self.dtype = store, (store.rows, store.dim), store.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._store.between(rows.start, rows.stop)


def _is_store(path: Path) -> bool:
    try:
        return is_store(path)
    except StoreError as error:
        raise UsageError(f"{first_line(error)}; embeddings come as {ACCEPTED}.") from error


def _stored(path: Path) -> Shard:
    store = FeatureStore(path)
    return Shard(path, store.ids, _Stored(store))


def _npz(path: Path) -> Shard:
    try:
        if not zipfile.is_zipfile(path):
            raise UsageError(f"{path} is no .npz archive, or is cut off; write it again with numpy.savez.")
        with zipfile.ZipFile(path) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > UNPACKED * path.stat().st_size:
                raise UsageError(f"{path} unpacks to more than {UNPACKED} times its size; write it with numpy.savez.")
        with np.load(path, allow_pickle=False) as archive:
            lacking = [name for name in ("embeddings", "ids") if name not in archive]
            if lacking:
                raise UsageError(
                    f"{path} has no array `{lacking[0]}` among {', '.join(archive) or 'none'}; it needs `embeddings` "
                    "(N, D) and `ids` (N)."
                )
            return Shard(path, _texts(archive["ids"], path), archive["embeddings"])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} cannot be read as .npz without pickle ({first_line(error)}).") from error


def _ids(path: Path) -> list[str]:
    """The ids in the file that --ids names; `source/image` where it has a column `source`."""
    if path.suffix == ".npy":
        return _texts(memory_map(path), path)
    if path.suffix not in (".csv", ".parquet"):
        return read_ids(path)
    try:
        if path.suffix == ".csv":
            with polars_engine():
                read = pl.read_csv(path, infer_schema=False, glob=False)
        else:
            read = read_parquet(path)
    except (OSError, StoreError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"--ids {path} cannot be read ({first_line(error)}).") from error
    if "image" not in read.columns and path.suffix == ".parquet":
        return read_ids(path)
    columns = [name for name in ("source", "image") if name in read.columns]
    if "image" not in columns or any(read.schema[name] != pl.String for name in columns):
        raise UsageError(f"--ids {path} has no column 'image' of text; {nearest('image', read.columns)}")
    empty = read.select(pl.any_horizontal(pl.col(columns).is_null())).to_series()
    if empty.any():
        raise UsageError(f"--ids {path}: row {(empty.arg_max() or 0) + 1:,} has no {' or no '.join(columns)}.")
    return read.select(pl.concat_str(columns, separator="/")).to_series().to_list()


def _texts(array: np.ndarray, path: Path) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise UsageError(f"{path} has ids of {array.dtype} of shape {array.shape}; they are (N,) strings.")
    return np.strings.decode(array, "utf-8").tolist() if array.dtype.kind == "S" else array.tolist()


def _fill(target: np.ndarray, shard: Shard, rows: np.ndarray) -> None:
    """Rows (M,) of a shard, sorted, into target (M, D)."""
    step = max(1, BLOCK_BYTES // (shard.features.shape[1] * shard.features.dtype.itemsize))
    try:
        for start in range(0, len(shard.ids), step):
            first, last = np.searchsorted(rows, (start, start + step))
            if first < last:
                stop = min(start + step, len(shard.ids))
                target[first:last] = shard.read(start, stop)[rows[first:last] - start]
    except StoreError as error:
        raise UsageError(str(error)) from error
