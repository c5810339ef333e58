"""A synthetic problem of UnED's size, from the manifest to the scores: the start, then steps, validation and test of
each regime, with their memory, and how long the whole training, validation and test would take.

4.6 million images in 8 domains, 316,446 classes; 768-d float16 features in a real store of each domain, 6.4 GB, which
are removed at the end. Sizes are those of UnED's tables 2 and 3; Met's index are its training images, as there.

python -m benchmarks.uned --steps 300 --queries 5000
python -m benchmarks.uned --scale 0.01
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from rich.table import Table

from benchmarks.memory import peak_bytes, reset_peak
from feature_cache import Rows, StoreWriter
from probe.data import Manifest, read_manifest
from probe.extract import CachedFeatures, Selection
from probe.fit import FitData, TrainedConfig, Trainer, embed
from probe.memory import feature_budget
from probe.metrics import evaluate
from probe.terminal import printer
from probe.workspace import Workspace

BACKBONE, DIM = "synthetic", 768
SIGNAL = 64  # directions in which classes differ
PART = 50_000
EPOCHS, BATCH = 7, 128  # UnED's
UNED = {
    "head": {"kind": "l2-linear-l2"},
    "loss": {"kind": "normalised-softmax", "init": "lecun-uniform"},
    "training": {
        "optimizer": "adamw",
        "weight_decay": 1e-6,
        "lr": 1e-3,
        "schedule": "constant",
        "warmup_epochs": 0,
        "batch": BATCH,
        "select_by": "R@1",
    },
}
SEPARATE = {"sampler": "round-robin", "classifier": "separate"}
REGIMES: dict[str, dict] = {
    "uniform over images, joint": {},
    "UJCRR": {"training": {"sampler": "round-robin"}},
    "USCRR": {"training": SEPARATE},
    "distillation": {"training": SEPARATE, "distillation": {}},
}


class Part(NamedTuple):
    """Rows of one split, role and domain: `images` over `classes`. `of`: whose classes and images they share."""

    split: str
    role: str
    images: int
    classes: int


PARTS: dict[str, list[Part]] = {  # UnED, tables 2 and 3
    "food2k": [Part("train", "train", 472349, 900), Part("val", "both", 49323, 100), Part("test", "both", 9979, 1000)],
    "cars": [Part("train", "train", 6346, 78), Part("val", "both", 1708, 20), Part("test", "both", 8131, 98)],
    "sop": [
        Part("train", "train", 48942, 9054),
        Part("val", "both", 10609, 2264),
        Part("test", "both", 60502, 11316),
    ],
    "inshop": [
        Part("train", "train", 20897, 3198),
        Part("val", "both", 4985, 799),
        Part("test", "index", 12612, 3985),
        Part("test", "query", 14218, 3985),
    ],
    "inat": [
        Part("train", "train", 273929, 4552),
        Part("val", "both", 51917, 1138),
        Part("test", "both", 136093, 2452),
    ],
    "met": [
        Part("train", "train", 397121, 224408),
        Part("val", "index", 38307, 33501),
        Part("val", "query", 129, 111),
        Part("test", "index", 397121, 224408),
        Part("test", "query", 1003, 734),
    ],
    "gldv2": [
        Part("train", "train", 1422914, 73182),
        Part("val", "both", 157556, 8131),
        Part("test", "index", 761757, 101302),
        Part("test", "query", 1129, 318),
    ],
    "rp2k": [
        Part("train", "train", 188724, 1074),
        Part("val", "both", 17185, 120),
        Part("test", "both", 10931, 1186),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of images and classes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--queries", type=int, default=5000, help="of validation and of test; the index is whole")
    parser.add_argument("--regime", action="append", choices=list(REGIMES), help="only these")
    parser.add_argument("--folder", type=Path, help="for the features: kept there, and used again")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    regimes = options.regime or list(REGIMES)
    if options.measure:
        for stage in measured(options.folder, regimes, options.steps, options.queries):
            print(json.dumps(stage), flush=True)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "manifest.parquet").exists():
            start = time.monotonic()
            write(folder, options.scale)
            print(f"features and manifest written in {time.monotonic() - start:.0f} s", flush=True)
        arguments = ["--measure", "--folder", str(folder), "--steps", str(options.steps)]
        arguments += ["--queries", str(options.queries), *(f"--regime={regime}" for regime in regimes)]
        command = [sys.executable, "-m", "benchmarks.uned", *arguments]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        show([json.loads(line) for line in printed.splitlines()], options.steps, options.queries, options.scale)


# ---- the world ----


def write(folder: Path, scale: float) -> None:
    """A store of each domain, then the manifest."""
    frames = []
    for number, (domain, parts) in enumerate(PARTS.items()):
        frame = rows_of(domain, [scaled(part, scale) for part in parts])
        images = frame.unique("image", maintain_order=True)
        features = features_of(images["class"].to_numpy(), seed=number)
        with StoreWriter(store_path(folder, domain), {"backbone": {"model": BACKBONE}}) as writer:
            for start in range(0, len(images), PART):
                ids = images["image"][start : start + PART].to_list()
                writer.add(Rows(ids, next(features), np.full((len(ids), 2), 224, np.int32)))
            writer.finish()
        frames.append(frame.drop("class"))
    Manifest(pl.concat(frames)).write(folder / "manifest.parquet")


def store_path(folder: Path, domain: str) -> Path:
    path = workspace(folder).store(domain, BACKBONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def workspace(folder: Path) -> Workspace:
    return Workspace(folder / "data", folder / "features", folder / "out")


def scaled(part: Part, scale: float) -> Part:
    """At least two classes, an image of each, and two where they have to find each other."""
    classes = max(2, round(part.classes * scale))
    least = 2 if part.role == "both" else 1
    return part._replace(classes=classes, images=max(least * classes, round(part.images * scale)))


def rows_of(domain: str, parts: list[Part]) -> pl.DataFrame:
    """The manifest's rows, and the number of each row's class. Classes of a split are one set, so that queries find
    index images of theirs; Met's test split is over the classes, and its index the images, of training."""
    frames = []
    for part in parts:
        shared = "train" if domain == "met" and part.split == "test" else part.split
        images = "train" if domain == "met" and part.split == "test" and part.role == "index" else part.role
        least = 2 if part.role == "both" else 1
        spread = np.random.default_rng(0).random(max(0, part.images - least * part.classes))
        tail = (part.classes * spread**2).astype(np.int64)  # the first classes have the most
        classes = np.concatenate([np.tile(np.arange(part.classes), least), tail])[: part.images]
        offset = {"train": 0, "val": 1_000_000, "test": 2_000_000}[shared]
        number = pl.Series("row", np.arange(part.images)).cast(pl.String).str.zfill(7)
        frames.append(
            pl.DataFrame(
                {
                    "image": f"{shared}/{images}/" + number + ".jpg",
                    "source": domain,
                    "label": shared + pl.Series(classes).cast(pl.String),
                    "domain": domain,
                    "split": part.split,
                    "role": part.role,
                    "class": classes + offset,
                }
            )
        )
    return pl.concat(frames)


def features_of(classes: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """(n, DIM) float16 features of the next images: their class's centre, in a few directions, and noise in all."""
    rng = np.random.default_rng([1, seed])
    known, numbers = np.unique(classes, return_inverse=True)
    centres = rng.standard_normal((len(known), SIGNAL), np.float32)
    directions = rng.standard_normal((SIGNAL, DIM), np.float32) / np.sqrt(SIGNAL)
    noise = 1.5 * rng.standard_normal((8192, DIM), np.float32)
    for start in range(0, len(classes), PART):
        features = centres[numbers[start : start + PART]] @ directions
        features += noise[rng.integers(0, len(noise), len(features))]
        yield features.astype(np.float16)


# ---- the measurement ----


def measured(folder: Path, regimes: list[str], steps: int, queries: int) -> Iterator[dict[str, Any]]:
    """In this process: seconds of each stage of the start, then of each regime, and the peak of its memory."""
    clock = Clock()
    manifest = read_manifest(folder / "manifest.parquet")
    manifest = Manifest(with_queries(manifest.frame, queries))
    clock.lap("manifest")
    asked = {BACKBONE: {"backbone": {"model": BACKBONE}}}
    features = CachedFeatures(manifest, Selection(backbone=BACKBONE), asked, workspace(folder))
    clock.lap("finding the features")
    features.identity  # noqa: B018 - what a run's key is made of
    clock.lap("their identity")
    device = torch.device("cpu")
    data = FitData(features, device, feature_budget(device))
    clock.lap("loading them")
    yield clock.laps | {"peak": peak_bytes(), "where": data.why}
    for number, regime in enumerate(regimes):
        reset_peak()
        trainer = Trainer(config_of(regime, steps), data)
        yield {"regime": regime, **of_training(trainer), "peak": peak_bytes()}
        if number == 0:
            yield {**of_test(trainer), "peak": peak_bytes()}


def of_training(trainer: Trainer) -> dict[str, Any]:
    """Seconds of a step, and of the validation after them, which is the same for all regimes."""
    cpu = time.process_time()
    ticks = [(0, time.monotonic(), 0.0)]
    trainer.run(
        lambda images: ticks.append((images, time.monotonic(), time.process_time() - cpu)),
        lambda record: None,
    )
    steps = [(images / BATCH, later - now) for (_, now, _), (images, later, _) in pairwise(ticks) if images]
    return {
        "step": statistics.median(seconds / count for count, seconds in steps),
        "cpu": ticks[-1][2] / trainer.plan.steps,
        "validation": time.monotonic() - ticks[-1][1],
        "steps an epoch": len(trainer.data.train) // BATCH,
        "history": trainer.history[-1],
    }


def of_test(trainer: Trainer) -> dict[str, Any]:
    """Seconds of embedding validation and test, and of scoring the latter."""
    clock = Clock()
    embed(trainer.head, trainer.data.val)
    clock.lap("embedding validation")
    embeddings = embed(trainer.head, trainer.data.test)
    clock.lap("embedding test")
    evaluate(trainer.data.test.frame, embeddings)
    clock.lap("scoring test")
    return clock.laps


class Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def config_of(regime: str, steps: int) -> TrainedConfig:
    own = REGIMES[regime]
    length = {"samples": steps * BATCH, "validate_every": steps * BATCH}
    training = UNED["training"] | length | own.get("training", {})
    return TrainedConfig.model_validate(UNED | own | {"backbone": BACKBONE, "training": training})


def with_queries(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many queries in validation and in test, evenly spread; the index stays whole."""
    asks = frame["role"].is_in(["query", "both"])
    spare = np.zeros(len(frame), bool)
    for split in ("val", "test"):
        rows = np.flatnonzero((asks & (frame["split"] == split)).to_numpy())
        spare[rows] = True
        spare[rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]] = False
    role = pl.when(pl.Series(spare) & (pl.col("role") == "both")).then(pl.lit("index")).otherwise(pl.col("role"))
    return frame.with_columns(role=role).filter(~(pl.Series(spare) & (frame["role"] == "query")))


# ---- the report ----


def show(found: list[dict[str, Any]], steps: int, queries: int, scale: float) -> None:
    start, first, test, *others = found
    regimes = [first, *others]
    print(start.pop("where"))
    peak = start.pop("peak")
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in start.items())
    print(f"start: {sum(start.values()):.0f} s ({parts}), peak memory {peak / 1e9:.1f} GB")
    table = Table("", title=f"UnED's size x {scale:g}: {steps} steps of {BATCH}, {torch.get_num_threads()} thread(s)")
    for one in regimes:
        table.add_column(one["regime"], justify="right")
    rows: dict[str, list[str]] = {
        "a step": [f"{1000 * one['step']:.0f} ms" for one in regimes],
        "steps a second": [f"{1 / one['step']:.1f}" for one in regimes],
        "processor time of a step": [f"{1000 * one['cpu']:.0f} ms" for one in regimes],
        f"{EPOCHS} x {first['steps an epoch']:,} steps": [
            f"{EPOCHS * one['steps an epoch'] * one['step'] / 3600:.1f} h" for one in regimes
        ],
        "peak memory": [f"{one['peak'] / 1e9:.1f} GB" for one in regimes],
        "R@1 of validation": [f"{100 * one['history']['val']['R@1']:.1f} %" for one in regimes],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    printer().print(table)
    search = {"validation": first["validation"] - test["embedding validation"], "test": test["scoring test"]}
    for split, seconds in search.items():
        whole = scaled_queries("val" if split == "validation" else split, scale)
        asked = min(queries, whole)
        print(
            f"{split}: embedding {test[f'embedding {split}']:.0f} s, scoring {asked:,} queries {seconds:.0f} s; "
            f"at this rate {whole:,} take {seconds * whole / asked / 60:.0f} min"
        )
    print(f"peak memory with test: {test['peak'] / 1e9:.1f} GB")


def scaled_queries(split: str, scale: float) -> int:
    return sum(
        scaled(part, scale).images
        for parts in PARTS.values()
        for part in parts
        if part.split == split and part.role != "index"
    )


if __name__ == "__main__":
    main()
