"""A manifest of UnED's size (4.1 million rows, a long tail of classes): seconds of each step, and the memory so far.

Each format is measured in a process of its own; the peak is the operating system's, everything included.

python -m benchmarks.manifest --rows 4100000
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

from benchmarks.memory import peak_bytes
from probe.data import (
    Curation,
    Expected,
    Manifest,
    Source,
    cap,
    classes_between,
    concatenate,
    count,
    curate,
    draw_classes,
    find_problems,
    only,
    read_manifest,
)
from probe.terminal import printer

ROWS = 4_100_000
SHARES = {"gldv2": 0.53, "met": 0.20, "food2k": 0.13, "inat": 0.11, "sop": 0.03}


def main() -> None:
    """Measures in a folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        for step in steps(options.measure):
            print(json.dumps(step), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        table = Table("work", "seconds", "peak GB so far", title=f"a manifest of {options.rows:,} rows")
        for path in write(Path(folder), options.rows):
            for work, seconds, peak in measured(path):
                table.add_row(f"{path.suffix[1:]}: {work}", f"{seconds:.2f}", f"{peak:.2f}")
            table.add_section()
        printer().print(table)


def write(folder: Path, rows: int) -> list[Path]:
    """The manifest in both formats."""
    paths = [folder / f"manifest.{suffix}" for suffix in ("parquet", "csv")]
    for path in paths:
        Manifest(synthetic(rows)).write(path)
    return paths


def synthetic(rows: int) -> pl.DataFrame:
    """Nine tenths are training images; the rest are queries of a test split, some with two labels, and its index."""
    rng = np.random.default_rng(0)
    classes = np.minimum(rng.zipf(1.15, rows), 200_000)
    frame = pl.DataFrame(
        {
            "number": np.arange(rows),
            "source": rng.choice(list(SHARES), rows, p=list(SHARES.values())),
            "class": classes,
            "part": rng.choice(["train", "both", "query"], rows, p=[0.9, 0.0995, 0.0005]),
        }
    )
    label = pl.col("class").cast(pl.String)
    several = (
        pl.when(pl.col("part") == "query").then(pl.concat_list(label, label + "b")).otherwise(pl.concat_list(label))
    )
    return frame.select(
        image=pl.format("train/{}/{}/image_{}.jpg", pl.col("class") % 997, "class", "number"),
        source="source",
        label=several,
        domain=pl.lit("the domain of ") + pl.col("source"),
        split=pl.when(pl.col("part") == "train").then(pl.lit("train")).otherwise(pl.lit("test")),
        role="part",
    )


def measured(path: Path) -> list[tuple[str, float, float]]:
    """The steps on a file, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.manifest", "--measure", str(path)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [tuple(json.loads(line)) for line in printed.splitlines()]


def steps(path: Path) -> Iterator[tuple[str, float, float]]:
    """Work, its seconds, and the greatest resident memory of the process until then in GB."""

    def done(work: str, do: Callable[[], object]) -> tuple[str, float, float]:
        start = time.perf_counter()
        results[work] = do()
        seconds = time.perf_counter() - start
        return work, seconds, peak_bytes() / 1e9

    results: dict[str, object] = {}
    yield done("read and validate", lambda: read_manifest(path))
    uned = results.pop("read and validate")
    assert isinstance(uned, Manifest)
    yield done("digest", lambda: uned.digest)
    yield done("problems", lambda: find_problems(uned))
    yield done("count images and classes", lambda: count(uned))
    yield done("select the training split", lambda: only(uned, splits=["train"]))
    train = results.pop("select the training split")
    assert isinstance(train, Manifest)
    yield done("classes of at least 3", lambda: classes_between(train, 3))
    yield done("cap of 10", lambda: cap(train, 10, 42))
    yield done("draw 10,000 classes", lambda: draw_classes(train, 10_000, 42))
    results.clear()
    parts = [only(train, sources=[source]) for source in train.sources]
    yield done("join its sources", lambda: concatenate(parts))
    results.clear()
    sources = [Source(data="uned", min=3, cap=100)]
    recipe = Curation(name="all", title="", printed=None, seed=42, sources=sources, released=None, expected=Expected())
    yield done("curate: min 3, cap 100", lambda: curate(recipe, lambda _: uned))
    results.clear()
    for suffix in ("parquet", "csv"):
        yield done(
            f"write {suffix}", lambda suffix=suffix: uned.write(path.with_name(f"again.{suffix}"), overwrite=True)
        )


if __name__ == "__main__":
    main()
