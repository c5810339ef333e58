"""Made-up features of M4D-35k's size in a real store, and what trains on them: ours, and pytorch-metric-learning.

with stored(small=False) as features:
    data = FitData(features, torch.device("cuda"), feature_budget(torch.device("cuda")))
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from pytorch_metric_learning import losses as peer
from torch import nn

from benchmarks.closed_form import made
from feature_cache import Rows, StoreWriter
from probe.data import Manifest
from probe.extract import CachedFeatures, Selection
from probe.fit import TrainedConfig
from probe.workspace import Workspace

BACKBONE = SOURCE = "synthetic"
PART = 50_000
BATCH, DIM, SUB_CENTERS, MARGIN, SCALE, RATE, DECAY, DROPOUT = 128, 64, 3, 0.5, 30.0, 1e-2, 1e-4, 0.2
EPOCHS = 10


class Scale(NamedTuple):
    images: int
    dim: int
    classes: int


M4D_35K, SMALL = Scale(328_400, 1152, 34_800), Scale(2_048, 96, 200)


@contextmanager
def stored(small: bool) -> Iterator[CachedFeatures]:
    """The training split of such a set."""
    features, labels = made(*(SMALL if small else M4D_35K))
    frame = pl.DataFrame({"label": labels.numpy().astype(str)}).with_columns(
        split=pl.lit("train"), role=pl.lit("train")
    )
    with saved(features, frame) as found:
        yield found


@contextmanager
def saved(features: torch.Tensor, frame: pl.DataFrame) -> Iterator[CachedFeatures]:
    """(N, D) float16 in a store, in a folder that is removed at the end. `frame`: label, split and role of each."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "data", Path(folder) / "features", Path(folder) / "out")
        images = [f"{number:07}.jpg" for number in range(len(frame))]
        with StoreWriter(workspace.store(SOURCE, BACKBONE), {"backbone": {"model": BACKBONE}}) as writer:
            for start in range(0, len(images), PART):
                ids = images[start : start + PART]
                part = features[start : start + PART].numpy()
                writer.add(Rows(ids, part, np.full((len(ids), 2), 224, np.int32)))
            writer.finish()
        named = frame.with_columns(image=pl.Series(images), source=pl.lit(SOURCE), domain=pl.lit(SOURCE))
        asked = {BACKBONE: {"backbone": {"model": BACKBONE}}}
        splits = frame["split"].unique().to_list()
        yield CachedFeatures(Manifest(named), Selection(backbone=BACKBONE), asked, workspace, splits)


def config(steps: int | None = None) -> TrainedConfig:
    """UniFEx's training with Sub-Center ArcFace, 10 epochs or so many steps."""
    length = {"epochs": EPOCHS} if steps is None else {"samples": steps * BATCH, "validate_every": steps * BATCH}
    return TrainedConfig.model_validate(
        {
            "backbone": BACKBONE,
            "head": {"kind": "linear", "dim": DIM, "dropout": DROPOUT},
            "loss": {"kind": "sub-center-arcface", "sub_centers": SUB_CENTERS, "margin": MARGIN, "scale": SCALE},
            "training": {"batch": BATCH, "lr": RATE, "weight_decay": DECAY, **length},
        }
    )


def by_peer(features: torch.Tensor, labels: torch.Tensor, steps: int) -> Callable[[], None]:
    """So many steps by pytorch-metric-learning with torch's Adam, the features on the device as ours are."""
    device, classes = features.device, int(labels.max()) + 1
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(features.shape[1], DIM)).to(device)
    options: dict[str, Any] = {"num_classes": classes, "embedding_size": DIM, "sub_centers": SUB_CENTERS}
    options |= {"margin": math.degrees(MARGIN), "scale": SCALE}
    loss = peer.SubCenterArcFaceLoss(**options).to(device)
    optimizer = torch.optim.Adam([*head.parameters(), *loss.parameters()], lr=RATE, weight_decay=DECAY)

    def run() -> None:
        for _ in range(steps):
            rows = torch.randint(len(features), (BATCH,), device=device)
            optimizer.zero_grad()
            loss(head(features[rows].float()), labels[rows]).backward()
            optimizer.step()
        finish(device)

    return run


def finish(device: torch.device) -> None:
    """Waits for what the device was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
