"""False matches observed against promised: thresholds are of the validation split, queries of held-out domains.

    python -m benchmarks.no_match out/runs/descriptor_linear_arcface_seed0_* --data sample

Of each test query the images of its own class are taken out of the index, so that any hit is a false one. A query of
another domain than those of the validation split is not exchangeable with them, so that its rate may be another.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch

from probe.data import resolve_data
from probe.extract import CachedFeatures
from probe.index import conformal_threshold
from probe.runs import RunDirectory
from probe.search import search
from probe.workspace import Workspace

RATES = (0.01, 0.05, 0.1, 0.2)
CLASS = ("domain", "label")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="a finished run, whose features are cached")
    parser.add_argument("--data", default="sample")
    asked = parser.parse_args()
    if asked.run is None:
        print("no run is named: python -m benchmarks.no_match RUN --data DATA")
        return
    run, workspace = RunDirectory(asked.run), Workspace.named(None, None, None)
    manifest = resolve_data(asked.data, workspace.data_root)
    asked_for = {name: {} for name in run.config.stores("test")}
    features = CachedFeatures(manifest, run.config, asked_for, workspace, ["val", "test"])
    head = run.head(torch.device("cpu"))
    frames, vectors = {}, {}
    for split in ("val", "test"):
        rows = features.split(split)
        frames[split] = rows.frame
        with torch.inference_mode():
            vectors[split] = head(torch.from_numpy(np.asarray(rows.features)).float())
    in_index = frames["test"]["role"].is_in(["index", "both"]).to_numpy()
    index, of_index = vectors["test"][torch.from_numpy(in_index)], frames["test"].filter(in_index)
    scores = {split: best_of_others(frames[split], vectors[split], of_index, index) for split in frames}
    calibration = np.sort(scores["val"]["similarity"].to_numpy()).tolist()
    print(f"{asked.run.name}: {len(calibration):,} calibration queries, {len(of_index):,} rows")
    for rate in RATES:
        if (len(calibration) + 1) * rate < 1:
            continue
        limit = conformal_threshold(calibration, rate)
        observed = scores["test"].with_columns(false=pl.col("similarity") > limit, kept=pl.col("own") > limit)
        whole = observed.with_columns(domain=pl.lit("all"))
        for found in (observed, whole):
            for row in found.group_by("domain").agg(pl.len(), pl.col("false", "kept").mean()).sort("domain").to_dicts():
                told = f"promised {rate:.0%}, observed {row['false']:.1%}; own class above it {row['kept']:.1%}"
                print(f"  {row['domain']} ({row['len']:,} queries): {told}")


def best_of_others(
    frame: pl.DataFrame, vectors: torch.Tensor, of_index: pl.DataFrame, index: torch.Tensor
) -> pl.DataFrame:
    """Of each query, `similarity` of the best row of another class, and `own` of the best other image of its own."""
    is_query = frame["role"].is_in(["query", "both"]).to_numpy()
    queries, some = vectors[torch.from_numpy(is_query)], frame.filter(is_query)
    numbered = some.with_row_index("query").select("query", "source", "image", *CLASS)
    rows = of_index.with_row_index("row").select("row", "source", "image", *CLASS)
    of_class = numbered.join(rows, on=CLASS).select("query", "row").to_numpy().astype(np.int64)
    others = search(queries, index, 1, of_class).similarities[:, 0]
    itself = numbered.join(rows, on=["source", "image"]).select("query", "row").to_numpy().astype(np.int64)
    found = search(queries, index, 1, itself)
    labels = of_index.select(CLASS).rows()
    own = [
        similarity if labels[row] == tuple(of_query) else -np.inf
        for row, similarity, of_query in zip(
            found.rows[:, 0], found.similarities[:, 0], some.select(CLASS).rows(), strict=True
        )
    ]
    return some.select("domain").with_columns(similarity=pl.Series(others), own=pl.Series(own))


if __name__ == "__main__":
    main()
