"""One backbone's stores over the sources of some manifest rows. A join that misses anything raises.

stores = BackboneStores("clip-b16", manifest, manifest.split("test"), asked, workspace)
stores.fill(manifest.split("test"), features)      # features (N, D), in the order of the rows
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from feature_cache import FeatureStore, Location, Spec
from probe.data import Manifest
from probe.errors import UsageError
from probe.extract.match import feature_differences, require_features, require_images
from probe.workspace import Workspace

BLOCK_ROWS = 16384
SMALLEST_NORM = 1e-12


class MissingFeaturesError(UsageError):
    """Features that `probe extract` has to make first: `missing` says for each backbone what is not there."""

    def __init__(self, missing: dict[str, str]) -> None:
        super().__init__(" ".join(missing.values()))
        self.missing = missing


class BackboneStores:
    """The stores, one a source, that hold features of all images of `rows`, or know them to be undecodable.

    `asked`: the parts of the stores' spec that matter. Raises MissingFeaturesError when a store is absent or lacks
    images, UsageError when its spec is not what was asked or differs from source to source.
    """

    def __init__(self, name: str, manifest: Manifest, rows: pl.DataFrame, asked: Spec, workspace: Workspace) -> None:
        self.name = name
        self._stores: dict[str, FeatureStore] = {}
        for source in rows["source"].unique().sort():
            path = workspace.store(source, name)
            if not path.exists():
                raise MissingFeaturesError({name: f"there are no features of '{name}' for {source} (no {path})."})
            store = self._stores[source] = FeatureStore(path)
            images = rows.filter(pl.col("source") == source)["image"].unique().sort().to_list()
            require_features(store, asked)
            require_images(store, manifest.roots.get(source), images)
            self._require_complete(store, images, manifest)
        self._require_one_origin()

    @property
    def spec(self) -> Spec:
        """What produced the features; package versions are those of the first source."""
        return self._first.spec

    @property
    def weights(self) -> Location | None:
        """Where the weights lay that produced them, of the first source that tells."""
        return next((store.remarks.weights for store in self._stores.values() if store.remarks.weights), None)

    @property
    def dim(self) -> int:
        return self._first.dim

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(*(store.dtype for store in self._stores.values()))

    @property
    def where(self) -> str:
        """The stores' paths."""
        return ", ".join(str(store.path) for store in self._stores.values())

    @property
    def _first(self) -> FeatureStore:
        return next(iter(self._stores.values()))

    @property
    def failed(self) -> pl.DataFrame:
        """`source` and `image` of what could not be decoded."""
        failed = [(source, failure.id) for source, store in self._stores.items() for failure in store.failed]
        return pl.DataFrame(failed, {"source": pl.String, "image": pl.String}, orient="row")

    @property
    def fingerprints(self) -> list[str]:
        return [f"{self.name}/{source}:{store.fingerprint}" for source, store in self._stores.items()]

    def contents(self, rows: pl.DataFrame) -> np.ndarray:
        """(N,) uint64 digests of the rows' image files, 0 where not known."""
        contents = np.empty(len(rows), np.uint64)
        for store, ids, places in self._each_source(rows):
            contents[places] = store.contents[store.rows_of(ids)]
        return contents

    def sizes(self, rows: pl.DataFrame) -> np.ndarray:
        """(N, 2) int32 width and height of the rows' original images, 0 where not known."""
        sizes = np.empty((len(rows), 2), np.int32)
        for store, ids, places in self._each_source(rows):
            sizes[places] = store.sizes[store.rows_of(ids)]
        return sizes

    def fill(self, rows: pl.DataFrame, features: np.ndarray, normalized: bool) -> None:
        """Writes the rows' features into `features` (N, D), L2-normalised or as they are stored, block by block."""
        for store, ids, places in self._each_source(rows):
            in_file_order = np.argsort(store.rows_of(ids), kind="stable")
            for start in range(0, len(ids), BLOCK_ROWS):
                chosen = in_file_order[start : start + BLOCK_ROWS]
                block = store.load([ids[i] for i in chosen])
                features[places[chosen]] = unit(block) if normalized else block

    def _each_source(self, rows: pl.DataFrame) -> Iterator[tuple[FeatureStore, list[str], np.ndarray]]:
        """Each store with the ids that it is asked for and the places of their rows."""
        rows = rows.with_row_index("place")
        for source, store in self._stores.items():
            of_source = rows.filter(pl.col("source") == source)
            yield store, of_source["image"].to_list(), of_source["place"].to_numpy()

    def _require_complete(self, store: FeatureStore, images: list[str], manifest: Manifest) -> None:
        failed = {failure.id for failure in store.failed}
        missing = [image for image in images if image not in store and image not in failed]
        if missing:
            first = ", ".join(missing[:5])
            what = f"{store.path} lacks {len(missing):,} images of {manifest.where}: {first}."
            raise MissingFeaturesError({self.name: what})

    def _require_one_origin(self) -> None:
        first, *others = self._stores.values()
        for store in others:
            lines = feature_differences(first.spec, store.spec)
            lines += [f"dimension: {first.dim}, not {store.dim}"] if first.dim != store.dim else []
            if lines:
                raise UsageError(
                    f"{first.path} and {store.path} do not hold the same backbone's features ({'; '.join(lines)}); "
                    "extract one of them anew."
                )


def unit(features: np.ndarray) -> np.ndarray:
    """(N, D) float32 of length 1; zeros stay zeros."""
    features = features.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))
    features /= np.maximum(norms, SMALLEST_NORM)[:, None]
    return features
