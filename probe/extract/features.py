"""Manifest rows joined to the cached features that a run reads, by image id. A join that misses anything raises.

Images that extraction could not decode are the exception: they are known to have no features; `left_out` has them.

    features = CachedFeatures(manifest, Selection(backbone="clip-b16"), {"clip-b16": backbone.identity()}, workspace)
    train = features.split("train")       # train.frame, train.features (N, D)
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from feature_cache import Location, Spec
from probe.data import SPLITS, Manifest
from probe.errors import UsageError
from probe.extract.constants import Constants
from probe.extract.match import feature_differences
from probe.extract.selection import Selection, Size
from probe.extract.stores import BackboneStores, MissingFeaturesError, unit
from probe.workspace import Workspace

KEY = ["source", "image", "split"]
USUAL_SIDE = 512  # pixels
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class FeatureRows:
    """Manifest rows and, row by row, their features (N, D)."""

    frame: pl.DataFrame
    features: np.ndarray


class CachedFeatures:
    """What a selection takes of all sources of a manifest, for the splits that are asked for.

    `asked`: for each store, the parts of its spec that matter. Raises MissingFeaturesError, for all backbones at once,
    when stores are absent or lack images; UsageError when a spec is not what was asked, when the two views are not of
    one backbone, and when a size that is to be appended is not known.
    """

    def __init__(
        self,
        manifest: Manifest,
        selection: Selection,
        asked: Mapping[str, Spec],
        workspace: Workspace,
        splits: Sequence[str] = SPLITS,
    ) -> None:
        self.manifest, self.selection = manifest, selection
        self.splits = tuple(split for split in manifest.splits if split in splits)
        """Those of which there are rows."""
        self._rows = manifest.frame.filter(pl.col("split").is_in(splits))
        self._stores: dict[str, BackboneStores] = {}
        self._served = self._splits_of_stores()
        missing: dict[str, str] = {}
        for name in self._served:
            try:
                self._stores[name] = BackboneStores(
                    name, manifest, self._held(name, self._rows), asked[name], workspace
                )
            except MissingFeaturesError as error:
                missing |= error.missing
        if missing:
            raise MissingFeaturesError(missing)
        if selection.views:
            self._require_views_of_one_backbone()
        if selection.append:
            self._require_sizes()

    @cached_property
    def left_out(self) -> pl.DataFrame:
        """The manifest's rows whose image extraction could not decode, for one of the backbones or more."""
        failed = [
            self._held(name, self._rows).join(stores.failed, on=["source", "image"], how="semi")
            for name, stores in self._stores.items()
        ]
        return self._rows.join(pl.concat([self._rows.clear(), *failed]), on=KEY, how="semi", maintain_order="left")

    @cached_property
    def constants(self) -> Constants:
        """Which columns are the same in all images, but for sizes that are appended."""
        found = Constants()
        for block in self._blocks():
            found.add(block)
            if found.none:
                break
        return found

    @cached_property
    def all_equal(self) -> bool:
        """Whether all images have the same features; mostly known from the first block of them."""
        found = Constants()
        for block in self._blocks():
            found.add(block)
            if not found.all:
                break
        return found.all

    @property
    def spec(self) -> dict[str, Spec]:
        """What produced the features, store by store."""
        return {name: stores.spec for name, stores in self._stores.items()}

    @property
    def weights(self) -> dict[str, Location]:
        """Where the weights lay that produced them, by the stores that tell."""
        return {name: stores.weights for name, stores in self._stores.items() if stores.weights}

    @cached_property
    def identity(self) -> dict[str, str]:
        """What a result depends on: the manifest, what made the features, and of which image files."""
        contents = hashlib.sha256()
        for name, stores in self._stores.items():
            images = (
                self._usable(self._held(name, self._rows)).select("source", "image").unique().sort("source", "image")
            )
            contents.update("\0".join(images["image"]).encode())
            contents.update(stores.contents(images).tobytes())
        if self.selection.append:
            contents.update(self._sizes(self._usable(self._rows)).tobytes())
        return {
            "manifest": self.manifest.digest,
            "features": ",".join(line for stores in self._stores.values() for line in stores.fingerprints),
            "images": contents.hexdigest(),
        }

    @property
    def dim(self) -> int:
        """D, the features' length, what is appended included."""
        return sum(part.dim for part in self._parts()) + len(self.selection.append)

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's features as they are loaded."""
        return self.dim * self._dtype.itemsize

    @property
    def _dtype(self) -> np.dtype:
        return np.result_type(*(stores.dtype for stores in self._stores.values()))

    def split(self, name: str) -> FeatureRows:
        """The rows of one split that have features, read anew each time. Raises UsageError when there are none."""
        frame = self.frame(name)
        return FeatureRows(frame, self.load(frame))

    def frame(self, name: str) -> pl.DataFrame:
        """The manifest's rows of one split that have features. Raises UsageError when there are none."""
        frame = self._usable(self._rows.filter(pl.col("split") == name))
        if frame.is_empty():
            raise UsageError(f"{self.manifest.where} has no usable rows in its split '{name}'.")
        return frame

    def load(self, frame: pl.DataFrame) -> np.ndarray:
        """(N, D) features of rows of one split, in their order, read anew each time.

        The columns of each store, then the sizes, are written into one array as they are read.
        """
        parts = self._parts(frame["split"][0])
        width = sum(part.dim for part in parts)
        features = np.empty((len(frame), self.dim), self._dtype)
        start = 0
        for part in parts:
            part.fill(frame, features[:, start : start + part.dim], self.selection.normalized)
            start += part.dim
        if self.selection.append:
            features[:, width:] = _appended(self._sizes(frame), self.selection, width)
        return features

    def _blocks(self) -> Iterator[np.ndarray]:
        """(n, D) features of all images in the order of their ids, without what is appended."""
        width = self.dim - len(self.selection.append)
        for split in self.splits:
            rows = self._usable(self._rows.filter(pl.col("split") == split))
            frame = rows.unique(["source", "image"]).sort("source", "image")
            for start in range(0, len(frame), BLOCK_ROWS):
                yield self.load(frame[start : start + BLOCK_ROWS])[:, :width]

    def _parts(self, split: str | None = None) -> list[BackboneStores]:
        """The stores of a split, by default of any, in the order of the columns."""
        return [self._stores[name] for name in self.selection.stores(split or self._rows["split"][0])]

    def _usable(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.join(self.left_out, on=KEY, how="anti", maintain_order="left")

    def _splits_of_stores(self) -> dict[str, list[str]]:
        """The stores that have to be there, each with the splits whose features it holds."""
        served: dict[str, list[str]] = {}
        for split in self._rows["split"].unique().sort():
            for name in self.selection.stores(split):
                served.setdefault(name, []).append(split)
        return served

    def _held(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of the rows whose features one store holds."""
        return rows.filter(pl.col("split").is_in(self._served[name]))

    def _sizes(self, rows: pl.DataFrame) -> np.ndarray:
        """(N, 2) width and height, of the first store that knows them; 0 where none does."""
        sizes = np.zeros((len(rows), 2), np.int32)
        rows = rows.with_row_index("row")
        for name, stores in self._stores.items():
            held = self._held(name, rows)
            places = held["row"].to_numpy()
            sizes[places] = np.where(sizes[places] > 0, sizes[places], stores.sizes(held.drop("row")))
        return sizes

    def _require_sizes(self) -> None:
        rows = self._usable(self._rows)
        unknown = rows.filter(pl.Series((self._sizes(rows) == 0).any(axis=1)))["image"].unique().sort()
        if len(unknown):
            where = ", ".join(stores.where for stores in self._stores.values())
            raise UsageError(
                f"{where} does not know the size of {len(unknown):,} images ({', '.join(unknown[:5])}); imported "
                "features have none: extract them here, or leave out `append`."
            )

    def _require_views_of_one_backbone(self) -> None:
        for train, test in zip(self.selection.stores("train"), self.selection.stores("test"), strict=True):
            if train in self._stores and test in self._stores:
                a, b = self._stores[train], self._stores[test]
                compared = [{k: v for k, v in s.spec.items() if k not in ("preprocessing", "dtype")} for s in (a, b)]
                lines = feature_differences(*compared)
                lines += [f"dimension: {a.dim}, not {b.dim}"] if a.dim != b.dim else []
                if lines:
                    raise UsageError(
                        f"{a.where} and {b.where} are not two views of one backbone ({'; '.join(lines)}); "
                        "extract one of them anew."
                    )


def fuse(parts: Sequence[np.ndarray], sizes: np.ndarray, selection: Selection) -> np.ndarray:
    """(n, D_i) features of each of the selection's backbones, (n, 2) width and height in pixels -> (n, D) features as
    CachedFeatures has them."""
    columns = [unit(part) for part in parts] if selection.normalized else list(parts)
    if selection.append:
        columns.append(_appended(sizes, selection, sum(part.shape[1] for part in parts)))
    return np.concatenate(columns, axis=1, dtype=np.float32)


def _appended(sizes: np.ndarray, selection: Selection, width: int) -> np.ndarray:
    """(n, 2) width and height -> (n, columns), to stand behind `width` columns of features."""
    usual_channel = np.sqrt(len(selection.backbones) / width)  # root mean square of unit vectors side by side
    return usual_channel * size_columns(sizes, selection.append)


def size_columns(sizes: np.ndarray, columns: Sequence[Size]) -> np.ndarray:
    """(N, 2) width w and height h in pixels -> (N, columns) float64.

    width: ln(w / 512). height: ln(h / 512). aspect: (w - h) / (w + h), the aspect ratio w / h mapped to -1..1.
    """
    width, height = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    values = {
        "width": np.log(width / USUAL_SIDE),
        "height": np.log(height / USUAL_SIDE),
        "aspect": (width - height) / (width + height),
    }
    return np.stack([values[column] for column in columns], axis=1)
