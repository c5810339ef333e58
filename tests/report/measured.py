"""A measured world with pictures: two domains, small images on disk (one gone, one damaged), names that try to be HTML
or mathematics, a store of random features, and a recipe of three rows whose runs are done."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from feature_cache import Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.planning.inventory import Inventory
from probe.recipes.recipe import read_recipe
from probe.runs import sweep
from probe.workspace import Workspace

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"
DOMAINS = ("birds & <b>bees</b>", "$x^$")
SPLITS = ["train"] * 4 + ["val"] * 2 + ["test"] * 3
ROLE = {"train": "train", "val": "both", "test": "both"}
EACH = 4
RECIPE = f"""
title: Small & <em>measured</em>
about: "{HOSTILE}"
data: small
reference: printed.csv
defaults:
  backbone: descriptor
  seeds: [0, 1]
  training: {{epochs: 2, batch: 16}}
rows:
  - {{name: Full, head: {{kind: full-dimension}}, seeds: [0], printed: As printed}}
  - {{name: "Random <i>", head: {{kind: random-projection, dim: 8}}}}
  - {{name: Dynamic, head: {{kind: linear, dim: 8}}, loss: {{kind: dynamic-arcface}}}}
"""
PRINTED = f"""paper,table,group,row,column,metric,value,std
P,1,g,As printed,Mean,mMP@5,50.5,0.4
P,1,g,As printed,{DOMAINS[0]},mMP@5,61.0,
"""


@dataclass(frozen=True)
class Measured:
    folder: Path
    inventory: Inventory
    images: list[str]

    @property
    def queries(self) -> int:
        return len(DOMAINS) * SPLITS.count("test") * EACH


def measure(folder: Path) -> Measured:
    """Everything below `folder`; no training class is as large as the next."""
    rows = []
    for d, domain in enumerate(DOMAINS):
        for c, split in enumerate(SPLITS):
            label = HOSTILE if (d, c) == (0, 6) else f"class {d}{c}"
            rows += [
                (f"{d}/{c}/{i}.jpg", "small", label, domain, split, ROLE[split])
                for i in range(EACH + (c if split == "train" else 0))
            ]
    data = folder / "data" / "small"
    _write_images(data, [row[0] for row in rows])
    schema = ["image", "source", "label", "domain", "split", "role"]
    pl.DataFrame(rows, schema, orient="row").write_csv(data / "manifest.csv")
    (folder / "reference").mkdir()
    (folder / "reference" / "printed.csv").write_text(PRINTED)
    (folder / "small.yaml").write_text(RECIPE)
    workspace = Workspace(folder / "data", folder / "features", folder / "out")
    rng = np.random.default_rng(0)
    centres = {(row[3], row[2]): rng.normal(size=16) for row in rows}
    features = np.stack([centres[row[3], row[2]] + 1.5 * rng.normal(size=16) for row in rows])
    with StoreWriter(workspace.store("small", "descriptor"), find_backbone("descriptor").spec()) as writer:
        writer.add(Rows([row[0] for row in rows], features, np.full((len(rows), 2), 64)), [])
        writer.finish()
    recipe = read_recipe(folder / "small.yaml")
    sweep(Inventory(recipe, workspace).runs(), "cpu")
    test = [row[0] for row in rows if row[4] == "test"]
    (data / test[0]).unlink()
    (data / test[1]).write_bytes(b"not an image")
    return Measured(folder, Inventory(recipe, workspace), test)


def _write_images(folder: Path, images: list[str]) -> None:
    for number, image in enumerate(images):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (number * 37 % 256, number * 91 % 256, 128)).save(path)
