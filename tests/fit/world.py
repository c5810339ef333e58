"""A small world with a real feature store: classes that are easy to tell apart along a few directions, hidden below
nuisance directions of larger variance that mean nothing. Train, validation and test classes are disjoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from feature_cache import Failure, Rows, StoreWriter
from probe import heads, losses
from probe.data.manifest import Manifest
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.fit import ClosedFormConfig, FitData, Fitted, RunConfig, TrainedConfig, Training, fit
from probe.workspace import Workspace

DIM, SIGNAL = 48, 12
CLASSES = {"train": 24, "val": 6, "test": 6}
IMAGES = 10
BACKBONE = "synthetic"


def small_manifest() -> pl.DataFrame:
    """Rows of two sources and two domains; each domain's labels are numbered from 0, so that they overlap."""
    rows = []
    for split, classes in CLASSES.items():
        role = "train" if split == "train" else "both"
        for number in range(classes):
            domain = ("cars", "food")[number % 2]
            for image in range(IMAGES):
                name = f"{split}/{domain}/{number // 2}/{image}.jpg"
                rows.append((name, f"{domain}-photos", f"{split}{number // 2}", domain, split, role))
    return pl.DataFrame(rows, ["image", "source", "label", "domain", "split", "role"], orient="row")


def features_of(frame: pl.DataFrame, seed: int = 7, scale: float = 1.0) -> np.ndarray:
    """(N, DIM) float32: signal, nuisance and an offset that all images share."""
    rng = np.random.default_rng(seed)
    centres: dict[tuple[str, str], np.ndarray] = {}
    vectors = []
    for domain, label in frame.select("domain", "label").iter_rows():
        centre = centres.setdefault((domain, label), rng.normal(0, 1, SIGNAL))
        nuisance = rng.normal(0, 1.5, DIM - SIGNAL)
        vectors.append(np.concatenate([centre + rng.normal(0, 0.3, SIGNAL), nuisance]) + 0.2)
    return scale * np.array(vectors, np.float32)


@dataclass
class World:
    """A folder with stores, and a manifest to join them with."""

    folder: Path
    frame: pl.DataFrame

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "data", self.folder / "cache", self.folder / "out")

    def store(self, features: np.ndarray, failed: frozenset[str] = frozenset(), spec: Any = "v1") -> None:
        """Writes one store a source, its rows in another order than the manifest's."""
        for source in self.frame["source"].unique():
            rows = self.frame.with_row_index("row").filter(pl.col("source") == source).reverse()
            good = rows.filter(~pl.col("image").is_in(list(failed)))
            path = self.workspace.store(source, BACKBONE)
            with StoreWriter(path, {"backbone": {"model": BACKBONE, "weights": spec}}, dtype="float32") as writer:
                ids = good["image"].to_list()
                bad = [Failure(image, "truncated") for image in rows["image"] if image in failed]
                writer.add(Rows(ids, features[good["row"].to_numpy()], np.full((len(ids), 2), 32, np.int32)), bad)
                writer.finish()

    def cached(self) -> CachedFeatures:
        manifest = Manifest(self.frame)
        asked = {BACKBONE: {"backbone": {"model": BACKBONE}}}
        return CachedFeatures(manifest, Selection(backbone=BACKBONE), asked, self.workspace)


CPU = torch.device("cpu")
PLENTY = {"device": 0, "host": 1 << 30}


def fitted(config: RunConfig, features: CachedFeatures) -> Fitted:
    """On the CPU, with all features in memory and without a checkpoint."""
    return fit(config, FitData(features, CPU, PLENTY))


def linear(seed: int = 0, **training: Any) -> TrainedConfig:
    length: dict[str, Any] = {} if "samples" in training else {"epochs": 4}
    return TrainedConfig(
        backbone=BACKBONE,
        head=heads.Linear.Config(dim=8),
        loss=losses.SubCenterArcFace.Config(sub_centers=2, scale=8),
        training=Training.model_validate(length | {"batch": 16, "lr": 0.1} | training),
        seed=seed,
    )


def untrained(head: heads.ClosedFormHead.Config, seed: int = 0) -> ClosedFormConfig:
    return ClosedFormConfig(backbone=BACKBONE, head=head, seed=seed)
