"""What `probe extract` has to bring for a recipe: through which backbone, of which data, and of which splits of these.

A row reads the training images of what it is trained on, and val and test of the recipe's data; with views, each
through a view of its own. Images that no row reads are left alone.

    [extraction.command(workspace) for extraction in extractions(recipe, backbone, {"uned": manifest})]
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from probe.backbones.catalogue import Backbone
from probe.data.dataset import find_dataset, is_known
from probe.data.manifest import SPLITS, Manifest
from probe.recipes.recipe import Recipe
from probe.workspace import Workspace


@dataclass(frozen=True)
class Extraction:
    """`splits`: of each of `data`; None for all that they have."""

    backbone: Backbone
    data: tuple[str, ...]
    splits: tuple[str, ...] | None

    def command(self, workspace: Workspace) -> str:
        """What makes it; for features that are made elsewhere, what imports them."""
        row = self.backbone.row
        if row.library == "foreign":
            return f"probe cache import FILE --source SOURCE --name {shlex.quote(row.model)}"
        words = ["probe", "extract", *self.data, "--backbone", self.backbone.name]
        for split in self.splits or ():
            words += ["--split", split]
        if self.backbone.catalogue:
            words += ["--catalogue", str(self.backbone.catalogue)]
        if row.weights:
            words += ["--weights", row.weights]
        return shlex.join(words + workspace.options("data_root", "cache"))


def extractions(
    recipe: Recipe, backbone: Backbone, here: Mapping[str, Manifest], datasets: Path | None = None
) -> list[Extraction]:
    """Of all that rows read through a backbone, or a view of it: one for the data that are read whole, and one for each
    choice of splits. `here`: the manifests of the data that are; `datasets`: the user's own data sets."""
    data: dict[tuple[str, ...] | None, list[str]] = {}
    for name, read in _read(recipe, backbone).items():
        whole = read >= _splits_of(name, recipe, here, datasets)
        splits = None if whole else tuple(split for split in SPLITS if split in read)
        data.setdefault(splits, []).append(name)
    return [Extraction(backbone, tuple(names), splits) for splits, names in data.items()]


def _read(recipe: Recipe, backbone: Backbone) -> dict[str, set[str]]:
    """Data -> the splits of it that rows read."""
    read: dict[str, set[str]] = {}
    for row in recipe.rows:
        for split in SPLITS if backbone in row.backbones else ():
            if backbone.name in row.selection.stores(split):
                data = row.train if row.train and split == "train" else recipe.data
                read.setdefault(data, set()).add(split)
    return read


def _splits_of(name: str, recipe: Recipe, here: Mapping[str, Manifest], datasets: Path | None) -> set[str]:
    """Those that the data have; where they are not here, as published, else as a training set that is to be drawn has
    them, and any other data."""
    if name in here:
        return set(here[name].frame["split"].unique())
    if is_known(name, datasets):
        parts = find_dataset(name, datasets).parts
        return {split for part in parts for table in part.row.tables for split in table.splits}
    return set(SPLITS) if name == recipe.data else {"train"}
