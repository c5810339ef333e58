"""A small measured world: two domains, a store of 16-d features with one failed image, and a recipe over it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from feature_cache import Failure, Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.recipes.recipe import Recipe, read_recipe
from probe.workspace import Workspace

RECIPE = """
title: A small table
data: small
reference: printed.csv
defaults:
  backbone: descriptor
  head: {kind: random-projection, dim: 8}
  seeds: [0, 1, 2]
rows:
  - {name: Full, head: {kind: full-dimension}, seeds: [0], printed: As printed}
  - {name: Random}
"""
PRINTED = """paper,table,group,row,column,metric,value,std
P,1,g,As printed,Mean,mMP@5,50.5,
P,1,g,As printed,birds,R@1,61.0,
"""

SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
ROLE = {"train": "train", "val": "both", "test": "both"}


@dataclass(frozen=True)
class World:
    recipe: Recipe
    workspace: Workspace
    images: list[str]

    def write_store(self, spec: dict | None = None, failed: str | None = None) -> None:
        """Features that cluster by class, of every image but the failed one."""
        rng = np.random.default_rng(0)
        centres = {label: rng.normal(size=16) for label in sorted({image.split("/")[1] for image in self.images})}
        ids = [image for image in self.images if image != failed]
        features = np.stack([centres[image.split("/")[1]] + rng.normal(size=16) for image in ids])
        failures = [Failure(failed, "UnidentifiedImageError: not an image")] if failed else []
        spec = spec or find_backbone("descriptor").spec()
        with StoreWriter(self.workspace.store("small", "descriptor"), spec) as writer:
            writer.add(Rows(ids, features, np.full((len(ids), 2), 64)), failures)
            writer.finish()


def small_world(folder: Path) -> World:
    """Its manifest, recipe and printed values, written into an empty folder; no stores yet."""
    classes = [(domain, f"{domain}{n}", split) for domain in ("birds", "cars") for n, split in enumerate(SPLITS)]
    rows = [(f"{d}/{label}/{i}.jpg", "small", label, d, s, ROLE[s]) for d, label, s in classes for i in range(4)]
    schema = ["image", "source", "label", "domain", "split", "role"]
    data = folder / "data" / "small"
    data.mkdir(parents=True)
    pl.DataFrame(rows, schema, orient="row").write_csv(data / "manifest.csv")
    (folder / "reference").mkdir()
    (folder / "reference" / "printed.csv").write_text(PRINTED)
    (folder / "small.yaml").write_text(RECIPE)
    workspace = Workspace(folder / "data", folder / "features", folder / "out")
    return World(read_recipe(folder / "small.yaml"), workspace, [row[0] for row in rows])
