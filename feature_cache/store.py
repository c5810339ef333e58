"""Reading a finished store. Rows are asked for by image id; a missing id raises, it is never skipped.

Nothing stays open between calls, so a store can be handed to forked and spawned workers, and readers need no lock. A
store that another process replaces meanwhile is an error: rows never come from another file than the ids.

    store = FeatureStore("features/pocket/mobilenetv1.h5")
    store.ids[:3], len(store), store.dim         # image ids in row order, N, D
    store[0], store["coins/1.jpg"]               # (D,) features of a row, of an image
    features = store.load(ids)                   # (len(ids), D), in the order of `ids`; load() gives all rows
    for block in store.blocks():                 # all rows in file order, some thousand at a time
        block.ids, block.features, block.sizes
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import h5py
import numpy as np

from feature_cache.errors import MissingIdsError, StoreError
from feature_cache.layout import (
    Failure,
    Rows,
    dataset,
    features_of,
    identity,
    is_sealed,
    opening,
    read_column,
    read_failures,
    read_ids,
    read_remarks,
    read_text,
)
from feature_cache.spec import Spec

if TYPE_CHECKING:
    import polars as pl
    from torch.utils.data import TensorDataset

CHUNKS_PER_BLOCK = 32


class HasFrame(Protocol):
    """Such as probe's manifests."""

    @property
    def frame(self) -> "pl.DataFrame": ...


class FeatureStore:
    """One backbone's features for one image source; checked when it is opened.

    `rows` (N), `dim` (D), `dtype`, `spec` (what produced it), `fingerprint`, `remarks` (on its weights and on
    what was compared, where that was told) and `is_sealed` (whether it has digests) are known at once; the columns are
    read when they are first asked for. Raises StoreError when the file is absent, foreign, unfinished, damaged or of
    another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with opening(self.path) as file:
            self._identity = identity(file)
            self.spec: Spec = json.loads(read_text(file, "spec"))
            self.fingerprint = read_text(file, "fingerprint")
            self.remarks = read_remarks(file)
            self.is_sealed = is_sealed(file)
            features = dataset(file, "features")
            self.rows, self.dim = int(features.shape[0]), int(features.shape[1])
            self.dtype: np.dtype = features.dtype

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, image: str) -> bool:
        return image in self._row_of

    def __getitem__(self, key: int | str | slice) -> np.ndarray:
        """(D,) features of a row or an image id; of a slice (n, D). Each reads the file: load what is needed at once.

        Raises MissingIdsError for an unknown id, IndexError for a row that there is not.
        """
        if isinstance(key, str):
            return self.load([key])[0]
        if isinstance(key, slice):
            start, stop, step = key.indices(self.rows)
            return self.between(start, max(start, stop))[::step] if step > 0 else self.load()[key]
        row = range(self.rows)[key]
        return self.between(row, row + 1)[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """The (D,) features of each row, in file order."""
        for block in self.blocks():
            yield from block.features

    def to_polars(self) -> "pl.DataFrame":
        """A row an image: id, width, height (0 where not known), features (an array of D float32)."""
        import polars as pl

        features = pl.Series(self.load().astype(np.float32), dtype=pl.Array(pl.Float32, self.dim))
        columns = {"id": self.ids, "width": self.sizes[:, 0], "height": self.sizes[:, 1], "features": features}
        return pl.DataFrame(columns)

    def to_torch_dataset(self, manifest: "pl.DataFrame | HasFrame") -> "TensorDataset":
        """Pairs of (D,) float32 features and an int64 label, a pair a row of the manifest.

        `manifest`: a frame with columns `image` and `label`, or what has one as its `frame`. Labels are numbered in the
        order of their names, within their `domain` where there is one. Raises MissingIdsError for images that are not
        in the store, and StoreError for rows without one label.
        """
        import polars as pl
        import torch
        from torch.utils.data import TensorDataset

        frame = manifest if isinstance(manifest, pl.DataFrame) else manifest.frame
        if frame.schema.get("label") != pl.String or "image" not in frame.columns:
            raise StoreError("a data set of features and labels needs text columns `image` and `label`.")
        names = [name for name in ("domain", "label") if name in frame.columns]
        labels = frame.select((pl.struct(names).rank("dense") - 1).cast(pl.Int64)).to_series()
        features = self.load(frame["image"].to_list()).astype(np.float32)
        return TensorDataset(torch.from_numpy(features), torch.from_numpy(labels.to_numpy().copy()))

    @property
    def not_covered(self) -> str | None:
        """What its checks do not see, and what to do; None where they see all."""
        if self.is_sealed:
            return None
        return (
            "it is of format 1: its checksums do not see a hole of zeros or two chunks that changed places; "
            "`probe cache merge` writes it anew"
        )

    @cached_property
    def ids(self) -> list[str]:
        """Image ids in row order."""
        with self._reading() as file:
            return read_ids(file)

    @cached_property
    def failed(self) -> list[Failure]:
        """Images that gave no features, with the reason."""
        with self._reading() as file:
            return read_failures(file)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) int32: width and height of each original image, 0 where not known."""
        with self._reading() as file:
            return read_column(file, "size")

    @cached_property
    def contents(self) -> np.ndarray:
        """(N,) uint64: digest of each image file as it was, 0 where not known."""
        with self._reading() as file:
            return read_column(file, "content")

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.ids, range(self.rows), strict=True))

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) int64 row of each id. Raises MissingIdsError with the count and the first five that are missing."""
        rows = list(map(self._row_of.get, ids))
        if None in rows:
            missing = [image for image, row in zip(ids, rows, strict=True) if row is None]
            raise MissingIdsError(
                f"{self.path} lacks {len(missing):,} of {len(ids):,} images ({', '.join(missing[:5])}); "
                "extract them first.",
                missing,
            )
        return np.array(rows, np.int64)

    def blocks(self, rows: int | None = None) -> Iterator[Rows]:
        """All rows in file order, `rows` at a time, by default some megabytes."""
        with self._reading() as file:
            reader = features_of(file)
            step = rows or reader.step * CHUNKS_PER_BLOCK
            for start in range(0, self.rows, step):
                part = slice(start, min(start + step, self.rows))
                yield Rows(self.ids[part], reader.between(part.start, part.stop), self.sizes[part], self.contents[part])

    def between(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, D) features of the rows from `start` on."""
        with self._reading() as file:
            return features_of(file).between(start, stop)

    def load(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """(n, D) features of `ids`, in their order (an id may be asked for twice); of all rows without `ids`.

        One sequential pass over the chunks that hold wanted rows. Peak memory: the result and a few megabytes.
        Raises MissingIdsError.
        """
        if ids is None:
            return self.between(0, self.rows)
        wanted = self.rows_of(ids)
        order = np.argsort(wanted, kind="stable")
        rows = wanted[order]
        result = np.empty((len(wanted), self.dim), self.dtype)
        with self._reading() as file:
            reader = features_of(file)

            def pick(start: int) -> None:
                first, last = np.searchsorted(rows, (start, start + reader.step))
                result[order[first:last]] = reader.chunk(start)[rows[first:last] - start]

            reader.each((np.unique(rows // reader.step) * reader.step).tolist(), pick)
        return result

    @contextmanager
    def _reading(self) -> Iterator[h5py.File]:
        with opening(self.path, checked=self._identity) as file:
            if identity(file) != self._identity:
                raise StoreError(f"{self.path} was replaced by another process after it was opened; start again.")
            yield file
