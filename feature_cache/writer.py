"""Writing a store so that `kill -9` at any instant costs at most the part in hand.

Work arrives as parts: numbered immutable files in `<store>.parts/`, each renamed into place when it is whole. `finish`
merges the store that is already there, if any, and the parts into one new store, in the order in which they came.

    with StoreWriter(path, spec) as writer:
        for ids in chunks(image for image in wanted if image not in writer.done):
            writer.add(Rows(ids, features, sizes), failures)
        writer.finish()
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from feature_cache.errors import SpecMismatchError, StoreError
from feature_cache.layout import Failure, Rows, append, append_failures, replacing, widths
from feature_cache.lock import writer_lock
from feature_cache.spec import Spec, differences
from feature_cache.store import FeatureStore


class StoreWriter:
    """The only writer of the store at `path`; picks up the parts that an earlier writer left.

    Raises StoreError when another process is writing, SpecMismatchError when the store or a part is of another spec.
    With `retry_failed`, images recorded as failed count as not done.
    """

    def __init__(self, path: str | Path, spec: Spec, *, dtype: str = "float16", retry_failed: bool = False) -> None:
        self.path = Path(path)
        self.spec = spec
        self.dtype = dtype
        self.parts_folder = self.path.with_name(self.path.name + ".parts")
        self.dim: int | None = None
        self.failed: dict[str, Failure] = {}
        self._done: set[str] = set()
        self._retry_failed = retry_failed
        self._resources = ExitStack()

    @property
    def done(self) -> set[str]:
        """Ids that need no work any more: stored, or recorded as failed."""
        return self._done if self._retry_failed else self._done | self.failed.keys()

    def __enter__(self) -> "StoreWriter":
        self._resources.enter_context(writer_lock(self.path.with_name(self.path.name + ".lock")))
        try:
            if self.path.exists():
                self._take_stock(self.path)
            for part in self._parts():
                self._take_stock(part)
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

        Raises StoreError for an id that is already stored, and for a value that is not finite in the store's dtype.
        """
        duplicates = [image for image in rows.ids if image in self._done]
        if duplicates or len(set(rows.ids)) < len(rows.ids):
            raise StoreError(f"{self.path} already holds {duplicates[:5] or 'an id of this part'}; ids are unique.")
        if not len(rows.ids) == len(rows.features) == len(rows.sizes):
            raise StoreError(
                f"{len(rows.ids)} ids, {len(rows.features)} features and {len(rows.sizes)} sizes: not one each."
            )
        features = self._cast(rows)
        if self.dim not in (None, features.shape[1]):
            raise StoreError(
                f"{self.path} holds features of {self.dim} dimensions, and these have {features.shape[1]}."
            )
        self.dim = features.shape[1]
        part = self.parts_folder / f"{self._next_part():06d}.h5"
        with replacing(part, self.spec, features.shape[1], self.dtype, widths(rows.ids, failures)) as file:
            append(file, replace(rows, features=features))
            append_failures(file, failures)
        self._record(rows.ids, failures)

    def finish(self) -> None:
        """Merges everything into the store and removes the parts. With nothing new, the store is left untouched."""
        if self._parts():
            self._merge([FeatureStore(path) for path in ([self.path] if self.path.exists() else []) + self._parts()])
        if self.parts_folder.exists():
            shutil.rmtree(self.parts_folder)

    def _merge(self, sources: list[FeatureStore]) -> None:
        room = widths(self._done, self.failed.values())
        with replacing(self.path, self.spec, sources[0].dim, self.dtype, room) as file:
            for source in sources:
                for block in source.blocks():
                    append(file, block)
            append_failures(file, sorted(self.failed.values()))

    def _parts(self) -> list[Path]:
        return sorted(self.parts_folder.glob("[0-9]*.h5"))

    def _next_part(self) -> int:
        parts = self._parts()
        return int(parts[-1].stem) + 1 if parts else 0

    def _take_stock(self, path: Path) -> None:
        found = FeatureStore(path)
        if found.spec != self.spec:
            lines = "; ".join(differences(found.spec, self.spec))
            place = self.path if path == self.path else self.parts_folder
            raise SpecMismatchError(
                f"{place} holds other features than the ones asked for ({lines}); "
                "delete it to extract anew, or use another cache folder."
            )
        images = {*found.ids, *(failure.id for failure in found.failed)}
        if path != self.path and images <= self._done | self.failed.keys():
            path.unlink()  # killed after the merge and before this part was removed
            return
        self.dim = found.dim
        self._record(found.ids, found.failed)

    def _record(self, ids: Sequence[str], failures: Sequence[Failure]) -> None:
        self._done.update(ids)
        for image in ids:
            self.failed.pop(image, None)
        self.failed.update({failure.id: failure for failure in failures})

    def _cast(self, rows: Rows) -> np.ndarray:
        with np.errstate(over="ignore"):
            features = np.asarray(rows.features).astype(self.dtype)
        finite = np.isfinite(features).all(axis=1)
        if finite.all():
            return features
        row = int(np.argmin(finite))
        if np.isfinite(rows.features[row]).all():
            raise StoreError(
                f"{rows.ids[row]} has a feature of {np.abs(rows.features[row]).max():.6g}, beyond {self.dtype}; "
                "store it as float32 (--dtype float32)."
            )
        raise StoreError(f"{rows.ids[row]} has a feature that is not a finite number; the backbone is at fault.")
