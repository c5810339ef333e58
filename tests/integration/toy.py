"""The papers' world in small: UnED and the sources of M4D-35k in their published layouts with tiny images, and the
papers' encoders a block deep and narrow, their random weights in a hub cache. All else is as a user has it.

toy = make_toy(home)       # home/data, home/hub, and home/recipes: the project's, with these encoders
toy.lists["inshop"]["index"]      # [("deepfashion/inshop/img/WOMEN/Dresses/id_00000012/0120_front.jpg", [12]), ...]
"""

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from probe.backbones.catalogue import adapter, bundled_rows, read_rows
from probe.backbones.row import BackboneRow
from tests.data.published import info, lines
from tests.integration.commands import ROOT

SEVERAL = (
    *("openclip-vit-b16", "openclip-convnext-b-256", "clip-vit-l14-336", "eva-clip-vit-b16", "metaclip-vit-b16"),
    *("dinov2-vit-b14-224", "sam-vit-b16"),
)
"""Encoders, one of each kind, of a table that has many."""
RECIPES = ("unifex_table3", "unifex_table4", "uned_table4", "uned_table5", "uned_supp_s4")  # others are based on them
METRICS = ("mMP@5", "R@1", "mAP@100")
WIDTH, PX = 96, 32
LANDMARKS = 6  # classes of M4D-35k, in place of 10,000

Picture = tuple[str, list[int]]
"""Its path, as the published lists have it, and its classes."""
Lists = dict[str, list[Picture]]
"""By the name of the list."""


@dataclass(frozen=True)
class Domain:
    """One of UnED's eight."""

    name: str
    folder: str
    """Of its lists."""
    source: str
    prefix: str
    """What all its paths begin with; what follows is an image's id."""
    path: str
    """Of an image by its class and its number, after the prefix."""

    def images(self, classes: Iterable[int], each: int = 3) -> list[Picture]:
        """`each` images of a class, one or two more of some."""
        numbered = [(label, 10 * label + i) for label in classes for i in range(each + label % 3)]
        return [(self.prefix + self.path.format(label, i, _nested(i)), [label]) for label, i in numbered]


def _nested(number: int) -> str:
    """As the Google landmarks lie: by the first three digits of their names."""
    name = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"
    return f"{name[0]}/{name[1]}/{name[2]}/{name}"


DOMAINS = (
    Domain("food2k", "food2k", "food2k", "food2k/Food2k_complete/", "{0}/{1}.jpg"),
    Domain("cars196", "cars", "cars196", "cars/", "car_ims/{1:06}.jpg"),
    Domain("sop", "sop", "sop", "sop/", "bicycle_final/{0:012}_{1}.JPG"),
    Domain("inshop", "inshop", "inshop", "deepfashion/inshop/", "img/WOMEN/Dresses/id_{0:08}/{1:04}_front.jpg"),
    Domain("inat", "inat", "inaturalist-2018", "inat/iNaturalist/", "train_val2018/Aves/{0}/{1:032x}.jpg"),
    Domain("met", "met", "met", "met/", "MET/{0}/{1}.jpg"),
    Domain("gldv2", "gldv2", "gldv2", "gldv2/images/", "train/{2}.jpg"),
    Domain("rp2k", "rp2k", "rp2k", "rp2k/all/", "train/饮料{0}/{1}.jpg"),
)


def uned() -> dict[str, Lists]:
    """UnED's lists by domain. A class of SOP has one image, a landmark is nowhere in the index: queries that have
    nothing to find."""
    lists = {}
    for domain in DOMAINS:
        lists[domain.name] = {
            "train": domain.images(range(8)),
            "val": domain.images(range(8, 12)),
            "test": domain.images(range(12, 20)),
        }
    lists["sop"]["test"] = [*lists["sop"]["test"], ("sop/bicycle_final/alone_0.JPG", [99])]
    shown = lists["inshop"]["test"]
    lists["inshop"] |= {"test": shown[::2], "index": shown[1::2]}
    exhibits = DOMAINS[5].images(range(16), each=1)
    queries = [(f"met/test_met/{i}.jpg", [i % 16]) for i in range(24)]
    lists["met"] = {"train": exhibits, "index": exhibits, "small_index": exhibits[:16], "val": queries[:8]}
    lists["met"]["test"] = queries[8:]
    places = [(f"gldv2/images/index/{_nested(1000 + i)}.jpg", [20 + i % 9]) for i in range(36)]
    asked = [(f"gldv2/images/test/{_nested(2000 + i)}.jpg", [20 + i, 21 + i][: 1 + i % 2]) for i in range(8)]
    lists["gldv2"] |= {"index": places, "test": [*asked, (f"gldv2/images/test/{_nested(2100)}.jpg", [99])]}
    return lists


def m4d_35k(landmarks: list[Picture]) -> tuple[list[Picture], dict[str, str]]:
    """What M4D-35k is drawn from: the images of its four sources, whose landmarks are UnED's, and the lists of them, by
    path."""
    numbers = [(label, i) for label in range(8) for i in range(3 + label % 3)]
    products = [(f"{10 * label + i}.jpg", label) for label, i in numbers]
    items = {f"id_{label:08}": [f"train/TOPS/id_{label:08}/{i:02}.jpg" for i in range(3)] for label in range(8)}
    cars = [(f"{10 * label + i:05}.jpg", label) for label, i in numbers]
    google = [(path.removeprefix("gldv2/images/"), label) for path, (label,) in landmarks]
    lists = {
        "products-10k/train.csv": lines("name,class,group", *(f"{name},{label},0" for name, label in products)),
        "products-10k/test_kaggletest.csv": lines("name,class,Usage", "0.jpg,0,Public"),
        "google_landmark_recognition_2021/train.csv": lines(
            "id,landmark_id", *(f"{Path(path).stem},{label}" for path, label in google)
        ),
        "deepfashion/deepfashion_train.json": json.dumps({"TOPS": items}),
        "stanford_cars/refined_train.csv": lines(
            "x1,y1,x2,y2,Class,image,Probability", *(f"1,2,3,4,{label}_8,{name},0.9" for name, label in cars)
        ),
    }
    images = [(f"products-10k/train/{name}", [label]) for name, label in products]
    images += [(f"google_landmark_recognition_2021/{path}", [label]) for path, label in google]
    images += [(f"deepfashion/{path}", [label]) for label, paths in enumerate(items.values()) for path in paths]
    return images + [(f"stanford_cars/cars_train/{name}", [label]) for name, label in cars], lists


@dataclass(frozen=True)
class Toy:
    home: Path
    lists: dict[str, Lists]
    """UnED's, by domain."""


def make_toy(home: Path) -> Toy:
    of_uned = uned()
    trained, lists = m4d_35k(of_uned["gldv2"]["train"])
    for domain in DOMAINS:
        for name, pictures in of_uned[domain.name].items():
            one_or_more = ((path, labels if len(labels) > 1 else labels[0]) for path, labels in pictures)
            lists[f"info_files/{domain.folder}/{name}.json"] = info(*one_or_more)
    pictures = [picture for of_domain in of_uned.values() for each in of_domain.values() for picture in each]
    for path, labels in dict([*pictures, *trained]).items():
        draw(home / "data", path, motif=f"{path.split('/')[0]} {labels[0]}")
    for path, content in lists.items():
        (home / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "data" / path).write_text(content)
    shutil.copytree(ROOT / "recipes", home / "recipes")
    for recipe in (home / "recipes").glob("*.yaml"):  # the papers' rows alone
        recipe.write_text(re.sub(r'^ *- \{name: "Ours: .*\n', "", recipe.read_text(), flags=re.MULTILINE))
    for name in RECIPES:
        adapt(home / "recipes" / f"{name}.yaml", home / "hub")
    curation = home / "recipes" / "curation" / "m4d-35k.yaml"
    curation.write_text(curation.read_text().replace("classes: 10000", f"classes: {LANDMARKS}"))
    return Toy(home, of_uned)


def draw(folder: Path, path: str, motif: str) -> None:
    """A photograph: blotches in the colours of its motif, others of its own, in a size of its own."""
    of_motif, of_image = (np.random.default_rng(list(text.encode())) for text in (motif, path))
    blotches = 0.75 * of_motif.uniform(0, 255, (4, 4, 3)) + 0.25 * of_image.uniform(0, 255, (4, 4, 3))
    size = (int(of_image.integers(36, 60)), int(of_image.integers(36, 60)))
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blotches.astype(np.uint8)).resize(size).save(folder / path, quality=95)


def adapt(recipe: Path, hub: Path) -> None:
    """Gives the recipe rows of its own for its encoders, and their weights to the hub's cache. It shows all metrics,
    has two seeds at most, its specialists train for a fifth of the paper's 30 epochs, and of many encoders those of
    SEVERAL are run and the others' rows are printed alone."""
    content = yaml.safe_load(recipe.read_text())
    if len({row.get("backbone") for row in content["rows"]}) > 2 * len(SEVERAL):
        for row in content["rows"]:
            if row["backbone"] not in SEVERAL:
                row |= {"compared": "printed-only", "because": "it is not run here"}
                del row["backbone"], row["head"]
    own = read_rows(recipe) if "backbones" in content else {}
    for name in dict.fromkeys([*own, *(row["backbone"] for row in content["rows"] if "backbone" in row)]):
        encoder = small((bundled_rows() | own)[name], name)
        content.setdefault("backbones", {})[name] = encoder.model_dump(mode="json", exclude_defaults=True)
        write_weights(encoder, hub)
    for row in content["rows"]:
        if row.get("specialists"):
            row["training"] = {"epochs": 6}
    if seeds := content.get("defaults", {}).get("seeds"):
        content["defaults"]["seeds"] = seeds[:2]
    shown = content.setdefault("show", {})
    shown["metrics"] = list(dict.fromkeys([*METRICS, *shown.get("metrics", ())]))
    recipe.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def small(row: BackboneRow, name: str) -> BackboneRow:
    """The same encoder, a block deep."""
    changed: dict[str, Any] = {"px": PX, "dim": WIDTH, "params": None, "gflops": None, "options": _options(row)}
    if row.library == "open_clip" and "convnext" in row.model:
        changed["dim"] = 64
    return row.model_copy(update=changed | {"repository": f"toy/{name}", "file": "model.safetensors"})


def _options(row: BackboneRow) -> dict[str, Any]:
    if row.library == "timm":
        sam = {"neck_chans": 8, "global_attn_indexes": [0], "global_pool": "avg"} if "samvit" in row.model else {}
        return {"img_size": PX, "patch_size": 8, "embed_dim": WIDTH, "depth": 1, "num_heads": 2, **sam}
    if "convnext" in row.model:
        return {"embed_dim": WIDTH, "vision_cfg": {"timm_model_name": "test_convnext", "image_size": PX}}
    layers = {"layers": 1, "width": WIDTH, "head_width": WIDTH // 2, "patch_size": 8}
    return {"embed_dim": WIDTH, "vision_cfg": {"image_size": PX, **layers}}


def write_weights(row: BackboneRow, hub: Path) -> None:
    """Into the cache, as a download leaves them."""
    torch.manual_seed(crc32(str(row.repository).encode()))
    whole = row.model_copy(update={"feature": "projected" if row.library == "open_clip" else "pooled"})
    state = adapter(row.library).build(whole, None).state_dict()
    # large enough that a feature depends on what the image shows; layer scales (gamma) start at 1e-5
    state = {key: 5 * value if value.ndim > 1 else value for key, value in state.items()}
    state |= {key: torch.ones_like(value) for key, value in state.items() if key.endswith("gamma")}
    folder = hub / f"models--{str(row.repository).replace('/', '--')}"
    for part in ("refs", f"snapshots/{'0' * 40}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0" * 40)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"snapshots/{'0' * 40}/{row.file}")
