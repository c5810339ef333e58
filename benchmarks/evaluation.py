"""A test split of UnED's size, scored from end to end: both indexes, both protocols, mMP@5, R@1 and mAP@100.

Synthetic embeddings around class centres; domains, roles, images and classes as published. Prints time and peak memory.

python -m benchmarks.evaluation --scale 1 --dim 64
"""

import argparse
import sys
import time

import numpy as np
import polars as pl
import torch
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from benchmarks.uned import PARTS
from probe.metrics import evaluate

NOISE = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images and of the classes")
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    frame = test_frame(options.scale)
    embeddings = embedded(frame, options.dim)
    queries, index = (frame["role"].is_in([role, "both"]).sum() for role in ("query", "index"))
    before, start, shown = peak_bytes(), time.perf_counter(), 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if done * 20 // max(total, 1) > shown:
            shown = done * 20 // total
            print(f"{5 * shown} % of the comparisons, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)

    scores = evaluate(frame, embeddings, progress=progress).scores
    print(
        f"{queries:,} queries, index {index:,} x {options.dim} ({4 * index * options.dim / 1e6:,.0f} MB): "
        f"{time.perf_counter() - start:,.0f} s, processor {time.process_time():,.0f} s with the making of the data; "
        f"peak {peak_bytes() / 1e6:,.0f} MB, of which {before / 1e6:,.0f} MB before"
    )
    for protocol, indexes in scores.root.items():
        for name, found in indexes.items():
            print(f"{protocol}, {name}: {', '.join(f'{m} {100 * found.value(m):.2f}' for m in found.mean)}")


def test_frame(scale: float) -> pl.DataFrame:
    """The rows of a test manifest, sorted by domain and class."""
    parts = []
    for domain, parts_of in PARTS.items():
        for part in parts_of:
            if part.split == "test":
                images, classes = (max(2, int(scale * size)) for size in (part.images, part.classes))
                labels = np.sort(np.arange(images) % classes).astype(str)
                names = pl.Series([f"{part.role}/{number:07}.jpg" for number in range(images)])
                parts.append(
                    pl.DataFrame({"image": names, "label": labels}).with_columns(
                        source=pl.lit(domain), domain=pl.lit(domain), split=pl.lit("test"), role=pl.lit(part.role)
                    )
                )
    return pl.concat(parts)


def embedded(frame: pl.DataFrame, dim: int) -> torch.Tensor:
    """(N, dim) float32 of length 1, around the centre of their class."""
    generator = torch.Generator().manual_seed(0)
    classes = frame.select(pl.struct("domain", "label").rank("dense") - 1).to_series().cast(pl.Int64).to_numpy()
    centres = torch.randn(int(classes.max()) + 1, dim, generator=generator)
    embeddings = torch.empty(len(frame), dim)
    for rows in torch.arange(len(frame)).split(65_536):
        noise = torch.randn(len(rows), dim, generator=generator)
        embeddings[rows] = F.normalize(centres[torch.from_numpy(classes[rows.numpy()])] + NOISE * noise)
    return embeddings


if __name__ == "__main__":
    main()
