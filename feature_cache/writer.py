"""Writing a store so that `kill -9` at any instant costs at most the part in hand.

Work arrives as parts: numbered immutable files in `<store>.parts/`, each renamed into place when it is whole. `finish`
merges the store that is already there, if any, and the parts into one new store, in the order in which they came.

    with StoreWriter(path, spec) as writer:
        for ids in chunks(image for image in wanted if image not in writer.done):
            writer.add(Rows(ids, features, sizes), failures)
        writer.finish()
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType

import numpy as np

from feature_cache.errors import SpecMismatchError, StoreError
from feature_cache.layout import Failure, Rows, not_finite, not_ids
from feature_cache.lock import writer_lock
from feature_cache.new_file import replacing, widths
from feature_cache.spec import Remarks, Spec, differences
from feature_cache.store import FeatureStore

PARTS = ".parts"
FLOAT32_MAX = np.finfo(np.float32).max


class StoreWriter:
    """The only writer of the store at `path`; picks up the parts that an earlier writer left.

    Raises StoreError when another process is writing, SpecMismatchError when the store or a part is of another spec.
    `done` are the ids that need no work any more: stored, or recorded as failed; with `retry_failed` the latter count
    as not done. Of `remarks`, those that are not given are the store's.
    """

    def __init__(
        self,
        path: str | Path,
        spec: Spec,
        *,
        dtype: str = "float16",
        retry_failed: bool = False,
        remarks: Remarks | None = None,
    ) -> None:
        self.path = Path(path)
        self.spec = spec
        self.dtype = dtype
        self.remarks = remarks or Remarks()
        self.parts_folder = _parts_folder(self.path)
        self.dim: int | None = None
        self.done: set[str] = set()
        self.failed: dict[str, Failure] = {}
        self._stored: set[str] = set()
        self._retry_failed = retry_failed
        self._resources = ExitStack()

    @classmethod
    def resume(cls, path: str | Path) -> "StoreWriter":
        """A writer that goes on with what is there: a store, parts of one, or both. Raises StoreError for neither."""
        files = written_files(path)
        if not files:
            raise StoreError(f"There is neither a feature store nor a part of one at {path}.")
        found = FeatureStore(files[0])
        return cls(path, found.spec, dtype=found.dtype.name)

    def __enter__(self) -> "StoreWriter":
        self._resources.enter_context(writer_lock(self.path))
        try:
            for file in written_files(self.path):
                self._take_stock(file)
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def add(self, rows: Rows, failures: Sequence[Failure] = ()) -> None:
        """Stores one part. Afterwards its images survive any crash.

        Raises StoreError for an id that is stored already or that is no id, for columns of different length, for
        features of another dimension, and for a value that is not finite in the store's dtype.
        """
        self._require_new(rows.ids, failures)
        _require_fitting(rows)
        features = self._cast(rows)
        if self.dim not in (None, features.shape[1]):
            raise StoreError(
                f"{self.path} holds features of {self.dim} dimensions, and these have {features.shape[1]}."
            )
        self.dim = features.shape[1]
        part = self.parts_folder / f"{self._next_part():06d}.h5"
        room = widths(rows.ids, failures)
        with replacing(part, self.spec, features.shape[1], self.dtype, room, self.remarks) as new:
            new.append(replace(rows, features=features))
            new.append_failures(failures)
        self._record(rows.ids, failures)

    def absorb(self, other: FeatureStore) -> int:
        """Adds the rows of another store of the same spec that this one lacks, and returns how many those are.

        Raises SpecMismatchError, and StoreError for an image whose features differ between the two.
        """
        self._require_spec(other, other.path)
        self.finish()
        ours = FeatureStore(self.path) if self.path.exists() else None
        before = len(self._stored)
        if ours is not None:
            for block in other.blocks():
                _require_same(block.select(self._has(block.ids)), ours, other)
        for block in other.blocks():
            new = block.select(~self._has(block.ids))
            if new.ids:
                self.add(new)
        failures = [failure for failure in other.failed if failure.id not in self._stored | self.failed.keys()]
        if failures:
            self.add(Rows([], np.empty((0, other.dim), other.dtype), np.empty((0, 2), np.int32)), failures)
        self.finish()
        return len(self._stored) - before

    def finish(self, advance: Callable[[int], None] = lambda rows: None, *, renew: bool = False) -> None:
        """Merges everything into the store and removes the parts. With nothing new, the store is left untouched; with
        `renew`, one of an earlier format is written anew all the same.

        `advance` is told of every few thousand rows that are merged. Raises StoreError for a store of an earlier format
        that seems to have a hole.
        """
        sources = [FeatureStore(file) for file in written_files(self.path)]
        has_news = any(source.path != self.path for source in sources)
        if has_news or (renew and not all(source.is_sealed for source in sources)):
            self._merge(sources, advance)
        if self.parts_folder.exists():
            shutil.rmtree(self.parts_folder)

    def _merge(self, sources: list[FeatureStore], advance: Callable[[int], None]) -> None:
        room = widths(self._stored, self.failed.values())
        with replacing(self.path, self.spec, sources[0].dim, self.dtype, room, self.remarks) as new:
            for source in sources:
                for block in source.blocks():
                    if not source.is_sealed:
                        _require_no_hole(block, source)
                    new.append(block)
                    advance(len(block.ids))
            new.append_failures(sorted(self.failed.values()))

    def _next_part(self) -> int:
        parts = _parts(self.parts_folder)
        return int(parts[-1].stem) + 1 if parts else 0

    def _take_stock(self, path: Path) -> None:
        found = FeatureStore(path)
        self._require_spec(found, self.path if path == self.path else self.parts_folder)
        is_merged = self._stored.issuperset(found.ids) and all(
            failure.id in self._stored or failure == self.failed.get(failure.id) for failure in found.failed
        )
        if path != self.path and is_merged:
            path.unlink()  # killed after the merge and before this part was removed
            return
        self.dim = found.dim
        self.remarks = Remarks(*(ours or theirs for ours, theirs in zip(self.remarks, found.remarks, strict=True)))
        self._record(found.ids, found.failed)

    def _record(self, ids: Sequence[str], failures: Sequence[Failure]) -> None:
        self._stored.update(ids)
        for image in self.failed.keys() & self._stored:
            del self.failed[image]
        self.failed.update({failure.id: failure for failure in failures})
        self.done.update(ids)
        if not self._retry_failed:
            self.done.update(failure.id for failure in failures)

    def _has(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([image in self._stored for image in ids], bool)

    def _require_spec(self, found: FeatureStore, place: Path) -> None:
        lines = differences(found.spec, self.spec)
        if found.dtype != self.dtype:
            lines.append(f"stored as: {found.dtype}, not {self.dtype}")
        if self.dim not in (None, found.dim):
            lines.append(f"dimensions: {found.dim}, not {self.dim}")
        if lines:
            raise SpecMismatchError(
                f"{place} holds other features than the ones asked for ({'; '.join(lines)}); "
                "delete it to extract anew, or use another cache folder."
            )

    def _require_new(self, ids: Sequence[str], failures: Sequence[Failure]) -> None:
        wrong = not_ids([*ids, *(failure.id for failure in failures)])
        if wrong:
            raise StoreError(
                f"{wrong[0]!r} is not an id: ids are texts of Unicode characters other than NUL, not empty."
            )
        if not self._stored.isdisjoint(ids):
            stored = [image for image in ids if image in self._stored]
            raise StoreError(f"{self.path} already holds {', '.join(stored[:5])}; ids are unique.")
        taken = set(ids)
        both = [failure.id for failure in failures if failure.id in self._stored or failure.id in taken]
        if both:
            raise StoreError(f"{self.path} holds {', '.join(both[:5])}, which cannot have failed as well.")
        if len(taken) < len(ids):
            twice = [image for image, count in Counter(ids).items() if count > 1]
            raise StoreError(f"{self.path} was given {', '.join(twice[:5])} more than once; ids are unique.")

    def _cast(self, rows: Rows) -> np.ndarray:
        with np.errstate(over="ignore"):
            features = np.asarray(rows.features).astype(self.dtype, copy=False)
        infinite = not_finite(features)
        if not infinite.size:
            return features
        row = int(infinite[0])
        largest = np.abs(rows.features[row]).max()
        if not np.isfinite(largest):
            raise StoreError(f"{rows.ids[row]} has a feature that is not a finite number; what made it is at fault.")
        remedy = "what made it is at fault"
        if largest <= FLOAT32_MAX:
            first = f"delete {self.path} and " if self.path.exists() else ""
            remedy = f"{first}store it as float32 (--dtype float32)"
        raise StoreError(f"{rows.ids[row]} has a feature of {largest:.6g}, beyond {self.dtype}; {remedy}.")


def written_files(path: str | Path) -> list[Path]:
    """The store at `path`, if it is there, and the parts that wait to be merged into it, in order."""
    path = Path(path)
    return [path] * path.exists() + _parts(_parts_folder(path))


def set_parts_aside(path: str | Path, why: str) -> Path:
    """Renames the folder of the parts of a store that is not there, and returns where they lie now.

    Raises StoreError while another process writes the store.
    """
    path = Path(path)
    with writer_lock(path):
        folder = _parts_folder(path)
        aside = folder.with_name(f"{folder.name}.{why}")
        for number in count(2):
            if not aside.exists():
                break
            aside = folder.with_name(f"{folder.name}.{why}-{number}")
        return folder.rename(aside)


def _parts_folder(path: Path) -> Path:
    return path.with_name(path.name + PARTS)


def _parts(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0].isdigit() and path.suffix == ".h5")
    except (FileNotFoundError, NotADirectoryError):
        return []


def _require_fitting(rows: Rows) -> None:
    count = len(rows.ids)
    shapes = {"features": np.shape(rows.features), "sizes": np.shape(rows.sizes)}
    fits = len(shapes["features"]) == 2 and shapes["features"][0] == count and shapes["sizes"] == (count, 2)
    if rows.contents is not None:
        shapes["contents"] = np.shape(rows.contents)
        fits = fits and shapes["contents"] == (count,)
    if not fits:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise StoreError(
            f"{count} ids need features ({count}, D), sizes ({count}, 2), contents ({count},); got {given}."
        )


def _require_no_hole(rows: Rows, source: FeatureStore) -> None:
    zeros = ~rows.features.any(axis=1)
    if zeros.any():
        raise StoreError(
            f"{source.path}: the features of {rows.ids[int(np.argmax(zeros))]} are zeros, as a hole in the file is; "
            "take such rows out with `probe cache drop --damaged`, and extract them again."
        )


def _require_same(rows: Rows, ours: FeatureStore, other: FeatureStore) -> None:
    same = (ours.load(rows.ids) == rows.features).all(axis=1)
    if not same.all():
        raise StoreError(
            f"{ours.path} and {other.path} hold different features of {rows.ids[int(np.argmin(same))]}; "
            "one of them was made from other images."
        )


def drop(path: str | Path) -> None:
    """Deletes a store and its parts. Raises StoreError while another process writes it."""
    path = Path(path)
    with writer_lock(path):
        shutil.rmtree(_parts_folder(path), ignore_errors=True)
        path.unlink(missing_ok=True)
