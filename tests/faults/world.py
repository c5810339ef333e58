"""A world so small that a command takes a fraction of a second: 32 images, one store, four runs.

It is built by the commands themselves, step after step, and each step is kept as a folder to copy: what is done to a
command begins from the step before it. Everything random has a seed, and there is one thread, so that a command gives
the same bytes again.

    world = World(folder)
    world.copy("extracted", home)     # photos, a recipe, and the store
"""

import json
import os
import shutil
import signal
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import torch
from PIL import Image
from safetensors.torch import save_file

from feature_cache import FeatureStore, StoreWriter
from probe.data.dataset import all_datasets
from probe.data.tar_index import FEWEST
from probe.fit.choice import MEASURED
from probe.runs.checkpoint import RunCheckpoint
from tests.data.published import PUBLISHED
from tests.faults.process import run

CLASSES = {"train": 4, "val": 2, "test": 2}
EACH, DIM = 4, 6
RUN = "out/runs/descriptor_linear_arcface_seed0_photos_*"
DISCRIMINANT = "out/runs/descriptor_discriminant_seed0_photos_*"
INDEX, FITTED = "photos.index", "fitted.index"
STORE = "features/photos/descriptor.h5"
EXTRACT = "extract photos --backbone descriptor --batch 8 --part 8"
EVALUATE = "evaluate clip.npy --ids clip.txt --data photos"
IMPORT = "cache import clip.npy --ids clip.txt --source photos --name clip --dtype float32"


# Each goes on from the one before it.
STEPS: dict[str, list[str]] = {
    "photos": ["data stats photos"],
    "extracted": [f"{EXTRACT} --workers 0"],
    "fitted": ["fit recipe.yaml"],
    "reported": [
        *("table recipe.yaml", EVALUATE, "data curate curation.yaml"),
        *(f"index create {INDEX} {RUN}", f"index add {INDEX} photos", f"index remove {INDEX} photos/test0/0.png"),
        *(f"index create {FITTED} {DISCRIMINANT} --fit-to-collection", f"index add {FITTED} photos"),
    ],
}

RECIPE = """\
title: Small
data: photos
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 3, batch: 8}
  seeds: [0, 1]
rows:
  - {name: PCA-whitening, head: {kind: pca-whitening}, seeds: [0]}
  - {name: ArcFace}
  - {name: Discriminant, head: {kind: discriminant, dim: 4}, seeds: [0]}
"""
CROWD = """\
title: A head chosen among many
data: crowd
defaults: {backbone: descriptor, seeds: [0]}
rows:
  - {name: Auto, head: {kind: auto, dim: 4}}
"""
CURATION = """\
title: Fewer
seed: 1
sources:
  - {data: photos, domain: things, classes: 3}
rows:
  - {name: fewer}
"""
DATASETS = """\
sources:
  shelves: {folders: [shop], holds: [bread]}
datasets:
  corner-shop:
    title: What a shop sells
    domain: groceries
    source: shelves
    folders: [shop]
    tables:
      - {kind: delimited, file: train.csv, image: "{file}", label: "{product}", part: train}
"""
CATALOGUE = """\
backbones:
  mine: {library: timm, model: resnet18, dim: 512, px: 224}
"""


@dataclass(frozen=True)
class World:
    """`folder` holds a folder for each step."""

    folder: Path

    def build(self) -> None:
        """Runs the commands of all steps; in the last ones a run, an extraction and the choice of a head have been
        interrupted."""
        before: Path | None = None
        for step, commands in STEPS.items():
            home = self.folder / step
            if before is None:
                write_sources(home)
            else:
                shutil.copytree(before, home)
            for words in commands:
                ended = run(written_out(words, home), home, write_parquet)
                if ended.code:
                    raise RuntimeError(f"probe {words} in {home} ended with {ended.code}:\n{ended.text}")
            before = home
        self._interrupt(self.folder / "interrupted")
        shutil.copytree(self.folder / "photos", self.folder / "parts")
        shutil.copytree(self.folder / "interrupted" / "parts", self.folder / "parts" / f"{STORE}.parts")

        shutil.copytree(self.folder / "photos", self.folder / "crowd")
        write_crowd(self.folder / "crowd")
        run("extract crowd --backbone descriptor --workers 0", self.folder / "crowd")
        shutil.copytree(self.folder / "crowd", self.folder / "choosing")
        run("fit crowd.yaml", self.folder / "choosing", before=_die_while_choosing)

    def _interrupt(self, home: Path) -> None:
        """Leaves parts of a store in `parts`, and a run's checkpoint after its first epoch."""
        shutil.copytree(self.folder / "extracted", home)
        whole = FeatureStore(home / STORE)
        with StoreWriter(home / "parts.h5", whole.spec) as writer:
            for start in range(0, len(whole), 8):
                writer.add(next(iter(whole.blocks())).select(np.arange(len(whole)) // 8 == start // 8))
        writer.parts_folder.rename(home / "parts")
        run("fit recipe.yaml --row ArcFace --seeds 0", home, before=_leave_first_checkpoint)
        shutil.rmtree(next(home.glob(RUN)))

    def copy(self, step: str, home: Path) -> None:
        """What there is after a step, in place of what is at `home`."""
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.folder / step, home)


def written_out(words: str, home: Path) -> str:
    """A command line with its patterns as a shell writes them out."""
    found = {word: " ".join(str(path.relative_to(home)) for path in home.glob(word)) for word in words.split()}
    return " ".join(found[word] if "*" in word else word for word in words.split())


def write_parquet() -> None:
    """Parquet files of others; in the process of a command, where Polars may be used."""
    pl.read_csv("photos/manifest.csv").write_parquet("photos.parquet")
    features = pl.Series("vector", np.load("clip.npy"), pl.Array(pl.Float32, DIM))
    pl.DataFrame({"id": Path("clip.txt").read_text().split(), "vector": features}).write_parquet("clip.parquet")


def annotation_files() -> dict[str, tuple[str, str]]:
    """Of each kind of reader that reads files: a data set with a table of that kind, and the table's file."""
    found: dict[str, tuple[str, str]] = {}
    for dataset in all_datasets():
        for table in dataset.row.tables:
            files = [name for name, content in PUBLISHED[dataset.name].files.items() if content is not None]
            file = next((name for name in files if f"/{table.file[0]}/" in f"/{name}/"), None)
            if file and table.kind != "tree":  # whose files are images
                found.setdefault(table.kind, (dataset.name, file))
    return found


def _leave_first_checkpoint() -> None:
    """In the process of a run."""
    write = RunCheckpoint.write

    def first(checkpoint: RunCheckpoint, *state: Any) -> None:
        if not checkpoint.history:
            write(checkpoint, *state)

    RunCheckpoint.write = first  # type: ignore[method-assign]
    RunCheckpoint.remove = lambda checkpoint: None  # type: ignore[method-assign]


def _die_while_choosing() -> None:
    """In the process of a run with `head: auto`: after the first fold."""
    write = RunCheckpoint.write_candidates

    def write_and_die(checkpoint: RunCheckpoint, *state: Any) -> None:
        write(checkpoint, *state)
        if any(len(candidate.folds) == 2 for candidate in state[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    RunCheckpoint.write_candidates = write_and_die  # type: ignore[method-assign]


def write_crowd(home: Path) -> None:
    """Photos of enough classes to choose a head by, and a recipe that does."""
    classes = [*(("train", i) for i in range(MEASURED)), *((split, i) for split in ("val", "test") for i in range(2))]
    rows = write_photos(home / "crowd", [(split, f"{split}{number}", 2) for split, number in classes])
    write_manifest(home / "crowd", rows)
    (home / "crowd.yaml").write_text(CROWD)


def write_photos(folder: Path, classes: Sequence[tuple[str, str, int]]) -> list[str]:
    """Of each class: its split, its name, and how many there are. Returns the rows of a manifest."""
    rng, rows = np.random.default_rng(0), []
    for split, label, count in classes:
        base = rng.integers(0, 255, (16, 16, 3))
        for image in range(count):
            file = folder / label / f"{image}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(base + rng.integers(-40, 40, base.shape), 0, 255).astype(np.uint8)).save(file)
            role = "train" if split == "train" else "both"
            rows.append(f"{label}/{image}.png,{folder.name},{label},things,{split},{role}")
    return rows


def write_manifest(folder: Path, rows: list[str]) -> None:
    (folder / "manifest.csv").write_text("\n".join(["image,source,label,domain,split,role", *rows]) + "\n")


def write_sources(home: Path) -> None:
    """Everything that a user would bring: photos with a manifest, features and weights of others, YAML of their own."""
    classes = [(split, f"{split}{number}", EACH) for split, count in CLASSES.items() for number in range(count)]
    rows = write_photos(home / "photos", classes)
    write_manifest(home / "photos", rows)
    (home / "spoilt").mkdir()
    (home / "spoilt" / "0.png").write_text("no image")
    ids = [row.partition(",")[0] for row in rows]
    features = np.random.default_rng(0).standard_normal((len(ids), DIM)).astype(np.float32)
    np.save(home / "clip.npy", features)
    np.savez(home / "clip.npz", embeddings=features, ids=np.array(ids))
    (home / "clip.txt").write_text("".join(f"{image}\n" for image in ids))
    (home / "clip.json").write_text(json.dumps(ids))
    with h5py.File(home / "clip.hdf5", "w") as file:
        file["features"], file["index"] = features, np.array(ids, dtype=h5py.string_dtype())
    torch.save({"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}, home / "weights.pt")
    save_file({"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3)}, home / "weights.safetensors")
    for name, _ in annotation_files().values():
        PUBLISHED[name].write(home / "published")
    with tarfile.open(home / "shard.tar", "w") as tar:
        for file in sorted((home / "photos").rglob("*.png")):
            tar.add(file, file.relative_to(home / "photos"))
    (home / "shards").mkdir()
    with tarfile.open(home / "shards" / "many.tar", "w") as tar:
        for number in range(FEWEST):
            tar.addfile(tarfile.TarInfo(f"{number}.jpg"))
    for name, text in (
        ("recipe.yaml", RECIPE),
        ("curation.yaml", CURATION),
        ("datasets.yaml", DATASETS),
        ("catalogue.yaml", CATALOGUE),
    ):
        (home / name).write_text(text)
