"""The inputs that the recipes of one command share, each read once: data sets, and the features joined to them.

inputs = Inputs(workspace)
inputs.features(inputs.rows_of("pocket", row), row.selection, specs)      # the second time, the same object
"""

from collections.abc import Collection
from typing import NamedTuple

import polars as pl

from feature_cache import Spec, fingerprint
from probe.data import Manifest, draw_validation, resolve_data, with_training
from probe.errors import UsageError
from probe.extract import CachedFeatures, Selection
from probe.fit import VAL_SHARE
from probe.recipes import Row
from probe.workspace import Workspace


class ValidationRule(NamedTuple):
    """Which classes are drawn of training images for validation."""

    share: float
    seed: int


class Inputs:
    """Keeps what could be read. What could not be read is tried again, and raises the same errors."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._data: dict[tuple[str, str | None], Manifest] = {}
        self._rows: dict[tuple[int, tuple[str, ...], ValidationRule | None], Manifest] = {}
        self._features: dict[tuple[int, str, str], CachedFeatures] = {}

    def data(self, name: str, train: str | None = None) -> Manifest:
        """The manifest of `name`, where `train` is given with the training images of that."""
        key = name, train
        if key not in self._data:
            if train is None:
                self._data[key] = resolve_data(name, self._workspace.data_root, datasets=self._workspace.datasets)
            else:
                self._data[key] = with_training(self.data(name), self.data(train))
        return self._data[key]

    def rows_of(self, name: str, row: Row) -> Manifest:
        """The splits that a row reads of `name`, with the training images of its own, and with a validation split that
        is drawn from their classes if need be. Raises UsageError where a split has no images.
        """
        manifest = self.data(name, row.train)
        rule = validation_rule(row, manifest.splits)
        key = id(manifest), row.splits, rule
        if key not in self._rows:
            _require_splits(manifest, row)
            if rule:
                drawn = draw_validation(self.data(row.train or name), *rule)
                manifest = with_training(self.data(name), drawn, ("train", "val")) if row.train else drawn
            if len(manifest.splits) > len(row.splits):
                manifest = manifest.where_rows(pl.col("split").is_in(row.splits))
            self._rows[key] = manifest
        return self._rows[key]

    def features(self, manifest: Manifest, selection: Selection, specs: dict[str, Spec]) -> CachedFeatures:
        """As CachedFeatures, for a manifest that came from here. `specs`: by store."""
        key = id(manifest), selection.features_name, fingerprint(specs)
        if key not in self._features:
            self._features[key] = CachedFeatures(manifest, selection, specs, self._workspace)
        return self._features[key]


def validation_rule(row: Row, splits: Collection[str]) -> ValidationRule | None:
    """Of a row that validates on classes of its training images: it is told to, or its data have no validation split.
    `splits`: those that they have."""
    training = row.training
    if "val" not in row.splits or ((training is None or training.val is None) and "val" in splits):
        return None
    return ValidationRule(training.val or VAL_SHARE, training.val_seed) if training else ValidationRule(VAL_SHARE, 0)


def _require_splits(manifest: Manifest, row: Row) -> None:
    if "test" not in manifest.splits:
        raise UsageError(
            f"{manifest.where} has no test images to score; give some of its rows the split `test`, or name other data."
        )
    if "train" in row.splits and "train" not in manifest.splits:
        raise UsageError(f"{manifest.where} has no training images; name data that have some with `train`.")
