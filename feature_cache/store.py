"""Reading a finished store. Rows are asked for by image id; a missing id raises, it is never skipped.

The file is opened for each call and closed again, so a store can be handed to forked and spawned workers.

    store = FeatureStore("caches/pocket/mobilenetv1.h5")
    features = store.load(manifest_ids)          # (n, D), in the order of the ids
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from feature_cache.errors import MissingIdsError
from feature_cache.layout import Failure, Rows, dataset, opening, read_failures, read_ids, read_text
from feature_cache.spec import Spec

BLOCK_ROWS = 16384


class FeatureStore:
    """One backbone's features for one image source; checked when it is opened.

    Raises StoreError when the file is absent, foreign, unfinished, damaged or of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with opening(self.path) as file:
            self.spec: Spec = json.loads(read_text(file, "spec"))
            self.fingerprint = read_text(file, "fingerprint")
            features = dataset(file, "features")
            self.rows, self.dim = int(features.shape[0]), int(features.shape[1])
            self.dtype: np.dtype = features.dtype

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, image: str) -> bool:
        return image in self._row_of

    @cached_property
    def ids(self) -> list[str]:
        """Image ids in row order."""
        with opening(self.path) as file:
            return read_ids(file)

    @cached_property
    def failed(self) -> list[Failure]:
        """Images that gave no features, with the reason."""
        with opening(self.path) as file:
            return read_failures(file)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(N, 2) int32: width and height of each original image."""
        with opening(self.path) as file:
            return dataset(file, "size")[:]

    @cached_property
    def contents(self) -> np.ndarray:
        """(N,) uint64: digest of each image file as it was, 0 where not known."""
        with opening(self.path) as file:
            return dataset(file, "content")[:]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {image: row for row, image in enumerate(self.ids)}

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) int64 row of each id. Raises MissingIdsError with the count and the first five that are missing."""
        missing = [image for image in ids if image not in self]
        if missing:
            examples = ", ".join(missing[:5])
            raise MissingIdsError(
                f"{self.path} lacks {len(missing):,} of {len(ids):,} images ({examples}); extract them first.",
                missing,
            )
        return np.fromiter((self._row_of[image] for image in ids), dtype=np.int64, count=len(ids))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Rows]:
        """All rows in file order, `rows` at a time."""
        with opening(self.path) as file:
            features, sizes, contents = (dataset(file, name) for name in ("features", "size", "content"))
            for start in range(0, self.rows, rows):
                part = slice(start, min(start + rows, self.rows))
                yield Rows(self.ids[part], features[part], sizes[part], contents[part])

    def load(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """(n, D) features of `ids`, in their order (an id may be asked for twice); of all rows without `ids`.

        One sequential pass over the file. Peak memory: the result and one block.
        """
        wanted = np.arange(self.rows) if ids is None else self.rows_of(ids)
        order = np.argsort(wanted, kind="stable")
        sorted_rows = wanted[order]
        result = np.empty((len(wanted), self.dim), self.dtype)
        with opening(self.path) as file:
            features = dataset(file, "features")
            for start in range(0, self.rows, BLOCK_ROWS):
                first, last = np.searchsorted(sorted_rows, (start, start + BLOCK_ROWS))
                if first < last:
                    block = features[start : start + BLOCK_ROWS]
                    result[order[first:last]] = block[sorted_rows[first:last] - start]
        return result
