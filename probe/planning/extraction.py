"""The extractions that a recipe needs: through which backbone, of which data, and of which of their splits.

A row reads the test images of the recipe's data; where it is fitted, the training images of its training set, and
where it selects an epoch, the recipe's validation images, or some of its training images in their place; with views,
each through a view of its own. Images that no row reads are not extracted.

    [extraction.command(workspace) for extraction in extractions(recipe, backbone, {"uned": manifest})]
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from probe.backbones import Backbone
from probe.data import SPLITS, Manifest, find_dataset, is_known
from probe.planning.inputs import ValidationRule, validation_rule
from probe.recipes import Recipe
from probe.workspace import Workspace, as_named


@dataclass(frozen=True)
class Extraction:
    """One `probe extract`, or for features that are made elsewhere one `probe cache import`."""

    backbone: Backbone
    data: tuple[str, ...]
    splits: tuple[str, ...] | None
    """Of each of `data`; None for all of them."""
    rule: ValidationRule | None = None
    """By which the validation images are drawn of the training images; None for the data's own."""

    def command(self, workspace: Workspace) -> str:
        """The command line."""
        row = self.backbone.row
        if row.library == "foreign":
            return f"probe cache import FILE --source SOURCE --name {shlex.quote(row.model)}"
        words = ["probe", "extract", *self.data, "--backbone", self.backbone.name]
        for split in self.splits or ():
            words += ["--split", split]
        if self.rule:
            words += ["--val", str(self.rule.share)]
            words += ["--val-seed", str(self.rule.seed)] if self.rule.seed else []
        if self.backbone.catalogue:
            words += ["--catalogue", str(as_named(self.backbone.catalogue))]
        if row.weights and not self.backbone.weights:
            words += ["--weights", row.weights]
        return shlex.join(words + workspace.options("data_root", "cache"))

    @property
    def parts(self) -> "list[Extraction]":
        """One for each of its data."""
        return [replace(self, data=(name,)) for name in self.data]

    @property
    def whole(self) -> "Extraction":
        """Of all splits."""
        return replace(self, splits=None)

    @property
    def uncatalogued(self) -> "Extraction":
        """Without the file that its backbone is written in: equal for equal rows of several recipes."""
        return replace(self, backbone=replace(self.backbone, catalogue=None))

    def joined(self, other: "Extraction") -> "Extraction":
        """Of the splits of both; `other` is of the same backbone, data and rule."""
        if self.splits is None or other.splits is None:
            return self.whole
        return replace(self, splits=tuple(split for split in SPLITS if split in {*self.splits, *other.splits}))


def extractions(
    recipe: Recipe, backbone: Backbone, here: Mapping[str, Manifest], datasets: Path | None = None
) -> list[Extraction]:
    """Those of a backbone, or a view of one: one for the data that are read whole, one for each choice of splits, and
    one for each rule by which validation images are drawn that are not read as training images too.

    `here`: the manifests of the data that are on this machine; `datasets`: the user's file of data sets.
    """
    data: dict[tuple[tuple[str, ...] | None, ValidationRule | None], list[str]] = {}
    held = cache(lambda name: _splits_of(name, recipe, here, datasets))
    for (name, rule), read in _read(recipe, backbone, held).items():
        whole = rule is None and read >= held(name)
        splits = None if whole else tuple(split for split in SPLITS if split in read)
        if held(name) & ({"train"} if rule else read):
            data.setdefault((splits, rule), []).append(name)
    return [Extraction(backbone, tuple(names), splits, rule) for (splits, rule), names in data.items()]


def _read(
    recipe: Recipe, backbone: Backbone, held: Callable[[str], set[str]]
) -> dict[tuple[str, ValidationRule | None], set[str]]:
    """The splits that rows read, by data and by the rule of drawn ones. `held`: those that data have."""
    read: dict[tuple[str, ValidationRule | None], set[str]] = {}
    for row in recipe.rows:
        for split in row.splits if backbone in row.backbones else ():
            if backbone.name not in row.selection.stores(split):
                continue
            rule = validation_rule(row, held(recipe.data)) if split == "val" else None
            if rule and backbone.name in row.selection.stores("train"):
                continue  # as training images
            data = row.train if row.train and (split == "train" or rule) else recipe.data
            read.setdefault((data, rule), set()).add(split)
    return read


def _splits_of(name: str, recipe: Recipe, here: Mapping[str, Manifest], datasets: Path | None) -> set[str]:
    """The splits of the data: by their manifest, else as published, else all three for the recipe's data, and training
    images alone for a training set that is to be drawn."""
    if name in here:
        return set(here[name].frame["split"].unique())
    if is_known(name, datasets):
        parts = find_dataset(name, datasets).parts
        return {split for part in parts for table in part.row.tables for split in table.splits}
    return set(SPLITS) if name == recipe.data else {"train"}
