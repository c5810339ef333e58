"""Manifest rows joined to cached features, by image id. A join that misses anything raises.

Images that extraction could not decode are the exception: they are known to have no features; `left_out` has them.

    features = CachedFeatures(manifest, backbone.name, backbone.identity(), workspace)
    train = features.split("train")       # train.frame, train.features (N, D)
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from feature_cache import FeatureStore, Spec
from probe.data.manifest import Manifest
from probe.errors import UsageError
from probe.extract.match import feature_differences, require_features, require_images
from probe.workspace import Workspace


class MissingFeaturesError(UsageError):
    """Features that `probe extract` has to make first."""


@dataclass(frozen=True)
class FeatureRows:
    """Manifest rows and, row by row, their features (N, D) as they are stored."""

    frame: pl.DataFrame
    features: np.ndarray


class CachedFeatures:
    """One backbone's features of all sources of a manifest. `asked`: the parts of the stores' spec that matter.

    Raises MissingFeaturesError when a store is absent or lacks images, UsageError when its spec is not what was asked.
    """

    def __init__(self, manifest: Manifest, backbone: str, asked: Spec, workspace: Workspace) -> None:
        self.manifest = manifest
        self.stores: dict[str, FeatureStore] = {}
        self._splits: dict[str, FeatureRows] = {}
        for source in manifest.sources:
            path = workspace.store(source, backbone)
            if not path.exists():
                raise MissingFeaturesError(f"there are no features of '{backbone}' for {source} (no {path}).")
            self.stores[source] = FeatureStore(path)
            require_features(self.stores[source], asked)
            images = manifest.images(source)
            require_images(self.stores[source], manifest.roots.get(source), images)
            _require_complete(self.stores[source], images, manifest)
        _require_one_origin(list(self.stores.values()))

    @cached_property
    def left_out(self) -> pl.DataFrame:
        """The manifest's rows whose image extraction could not decode."""
        failed = [(source, failure.id) for source, store in self.stores.items() for failure in store.failed]
        schema = {"source": pl.String, "image": pl.String}
        return self.manifest.frame.join(pl.DataFrame(failed, schema, orient="row"), on=["source", "image"], how="semi")

    @property
    def spec(self) -> Spec:
        """What produced the features; package versions are those of the first source."""
        return self._first.spec

    @property
    def _first(self) -> FeatureStore:
        return next(iter(self.stores.values()))

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a result depends on: the manifest, what made the features, and of which image files."""
        contents = hashlib.sha256()
        for source, store in sorted(self.stores.items()):
            failed = {failure.id for failure in store.failed}
            images = [image for image in self.manifest.images(source) if image not in failed]
            contents.update("\0".join(images).encode())
            contents.update(store.contents[store.rows_of(images)].tobytes())
        return {
            "manifest": self.manifest.digest,
            "features": ",".join(f"{source}:{store.fingerprint}" for source, store in sorted(self.stores.items())),
            "images": contents.hexdigest(),
        }

    @property
    def dim(self) -> int:
        """D, the features' length."""
        return self._first.dim

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's features as they are stored."""
        return self._first.dim * self._first.dtype.itemsize

    def split(self, name: str) -> FeatureRows:
        """The rows of one split that have features, loaded once. Raises UsageError when there are none."""
        if name not in self._splits:
            frame = self.frame(name)
            self._splits[name] = FeatureRows(frame, self.load(frame))
        return self._splits[name]

    def frame(self, name: str) -> pl.DataFrame:
        """The manifest's rows of one split that have features. Raises UsageError when there are none."""
        frame = self.manifest.split(name).join(self.left_out, on=["source", "image"], how="anti", maintain_order="left")
        if frame.is_empty():
            raise UsageError(f"{self.manifest.where} has no usable rows in its split '{name}'.")
        return frame

    def load(self, frame: pl.DataFrame) -> np.ndarray:
        """(N, D) features of rows of the manifest, in their order; read from the stores anew each time."""
        frame = frame.with_row_index("row")
        features = np.empty((len(frame), self.dim), self._first.dtype)
        for source, store in self.stores.items():
            rows = frame.filter(pl.col("source") == source)
            if len(rows):
                features[rows["row"].to_numpy()] = store.load(rows["image"].to_list())
        return features


def _require_complete(store: FeatureStore, images: list[str], manifest: Manifest) -> None:
    failed = {failure.id for failure in store.failed}
    missing = [image for image in images if image not in store and image not in failed]
    if missing:
        first = ", ".join(missing[:5])
        raise MissingFeaturesError(f"{store.path} lacks {len(missing):,} images of {manifest.where}: {first}.")


def _require_one_origin(stores: list[FeatureStore]) -> None:
    for store in stores[1:]:
        lines = feature_differences(stores[0].spec, store.spec)
        if lines:
            raise UsageError(
                f"{stores[0].path} and {store.path} do not hold the same backbone's features ({'; '.join(lines)}); "
                "extract one of them anew."
            )
