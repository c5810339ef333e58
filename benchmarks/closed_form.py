"""The discriminant on made features of the size of M4D-35k, or of UnED's training set: its time and memory, beside ten
epochs of ArcFace, of which some steps are measured and the rest is projected.

Features are float16 in memory; classes differ along 64 directions. Memory is what the fit takes on top of them.

python -m benchmarks.closed_form --steps 100
python -m benchmarks.closed_form uned --steps 20
python -m benchmarks.closed_form --scale 0.05
"""

import argparse
import time

import numpy as np
import torch
from rich.table import Table

from benchmarks.memory import peak_bytes, reset_peak
from probe.fit import Training, TrainingPlan
from probe.heads import Discriminant, Linear, TrainingImages
from probe.losses import ArcFace, build_loss
from probe.terminal import printer

SIZES = {"m4d-35k": (328_400, 1152, 34_800), "uned": (2_831_222, 768, 316_446)}  # images, dimensions, classes
SIGNAL = 64  # directions in which classes differ
BLOCK = 16_384
UNIFEX = Training(epochs=10, batch=128, lr=0.01, weight_decay=1e-4)


def made(images: int, dim: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) float16 features and (N,) labels, all classes of about one size."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, SIGNAL, generator=generator)
    features = torch.empty(images, dim, dtype=torch.float16)
    for start in range(0, images, BLOCK):
        rows = slice(start, start + BLOCK)
        block = torch.randn(len(labels[rows]), dim, generator=generator)
        block[:, :SIGNAL] += 2 * centres[labels[rows]]
        features[rows] = block + 0.3
    return features, labels


def in_blocks(features: torch.Tensor, labels: torch.Tensor) -> TrainingImages:
    def blocks():
        for start in range(0, len(features), BLOCK):
            part = features[start : start + BLOCK]
            yield torch.arange(start, start + len(part)), part

    return TrainingImages(labels, [np.arange(len(features))], lambda rows: features[torch.from_numpy(rows)], blocks)


def arcface_step(features: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Processor seconds of a step: the median of `steps`, after some that warm up."""
    generator = torch.Generator().manual_seed(0)
    head = Linear(features.shape[1], 64, generator)
    loss = build_loss(ArcFace.Config(), torch.bincount(labels), 64, generator)
    optimizer = torch.optim.Adam([*head.parameters(), *loss.parameters()], lr=0.01, weight_decay=1e-4, fused=True)
    seconds = []  # of the processor: the median step is not that of what else the machine does
    for rows in torch.randperm(len(features), generator=generator)[: (steps + 5) * 128].split(128):
        start = time.process_time()
        optimizer.zero_grad()
        loss(head(features[rows].float()), labels[rows]).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds[5:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES, nargs="?", default="m4d-35k")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images and classes")
    parser.add_argument("--steps", type=int, default=100, help="of ArcFace that are measured")
    given = parser.parse_args()
    images, dim, classes = SIZES[given.size]
    images, classes = int(images * given.scale), int(classes * given.scale)
    features, labels = made(images, dim, classes)
    reset_peak()
    before, start, worked = peak_bytes(), time.perf_counter(), time.process_time()
    Discriminant(dim, 64, torch.Generator()).fit(in_blocks(features, labels))
    fitted, memory = time.perf_counter() - start, peak_bytes() - before
    worked = time.process_time() - worked
    step = arcface_step(features, labels, given.steps)
    plan = TrainingPlan(UNIFEX, images)
    table = Table(
        title=f"{images:,} images x {dim}, {classes:,} classes, {torch.get_num_threads()} thread(s)",
        title_justify="left",
    )
    for column in ("head", "processor seconds", "memory"):
        table.add_column(column)
    table.add_row(
        "discriminant, 64-d", f"{worked:,.0f}, in {fitted:,.0f}", f"{memory / 1e9:.1f} GB on top of the features"
    )
    table.add_row(
        "ArcFace, 10 epochs",
        f"{plan.steps * step:,.0f}: {plan.steps:,} steps of {1000 * step:.0f} ms, the median of {given.steps}; "
        "validation left out",
        "",
    )
    printer().print(table)


if __name__ == "__main__":
    main()
