"""False matches observed against promised: thresholds are of the validation split, queries of held-out domains.

    python -m benchmarks.no_match out/runs/descriptor_linear_arcface_seed0_* --data sample

Of each test query the images of its own class are taken out of the index, so that any hit is a false one. There are
four calibrations: on all validation queries; without those of the query's own domain, as for a domain that is held out;
on those alone; and on those whose nearest row is of the same domain as the query's.
"""

import argparse
from collections.abc import Callable, Sequence
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
    print(f"{asked.run.name}: {len(scores['val']):,} calibration queries, {len(of_index):,} rows")
    domains = scores["test"]["domain"].unique().sort().to_list()
    for rate in RATES:
        print(f"promised {rate:.0%}:")
        found = scores["test"].with_columns(
            **{name: calibrated(scores["val"], scores["test"], rate) for name, calibrated in CALIBRATIONS.items()}
        )
        rows = [(domain, found.filter(pl.col("domain") == domain)) for domain in domains] + [("all", found)]
        for domain, some in rows:
            told = ", ".join(f"{name} {told_of(some, name)}" for name in CALIBRATIONS)
            print(f"  {domain} ({len(some):,} queries): {told}")


def told_of(found: pl.DataFrame, threshold: str) -> str:
    """The share of false matches, and that of queries that find an image of their class first, above the threshold."""
    if found[threshold].null_count():
        return "too few"
    false, own = ((found[name] > found[threshold]).mean() for name in ("similarity", "own"))
    return f"{false:.1%} (own class {own:.1%})"


def limit(scores: pl.DataFrame, rate: float, classes: Sequence[str] = CLASS) -> float | None:
    """None where there are too few."""
    ordered = scores.sort("similarity")
    groups = ordered.select(pl.struct(classes).rank("dense")).to_series().to_list()
    found = len(set(groups))
    return conformal_threshold(ordered["similarity"].to_list(), groups, rate) if (found + 1) * rate >= 1 else None


def of_all(calibration: pl.DataFrame, queries: pl.DataFrame, rate: float) -> pl.Series:
    """One threshold for all queries."""
    return pl.Series([limit(calibration, rate)] * len(queries), dtype=pl.Float64)


def as_if_unrelated(calibration: pl.DataFrame, queries: pl.DataFrame, rate: float) -> pl.Series:
    """The same, each query taken for a class of its own."""
    return pl.Series([limit(calibration, rate, ["query"])] * len(queries), dtype=pl.Float64)


def by(column: str, others: bool = False) -> Callable[[pl.DataFrame, pl.DataFrame, float], pl.Series]:
    """A threshold for each value of a column, of the calibration queries that have it, or of all `others`."""

    def found(calibration: pl.DataFrame, queries: pl.DataFrame, rate: float) -> pl.Series:
        is_it = {value: calibration[column] == value for value in queries[column].unique()}
        limits = {value: limit(calibration.filter(~it if others else it), rate) for value, it in is_it.items()}
        return pl.Series([limits[value] for value in queries[column]], dtype=pl.Float64)

    return found


CALIBRATIONS = {
    "queries": as_if_unrelated,
    "classes": of_all,
    "other domains alone": by("domain", others=True),
    "its domain": by("domain"),
    "domain of the nearest": by("nearest"),
}


def best_of_others(
    frame: pl.DataFrame, vectors: torch.Tensor, of_index: pl.DataFrame, index: torch.Tensor
) -> pl.DataFrame:
    """Of each query, `similarity` of the best row of another class, `nearest`, the domain of that row, and `own` of the
    best other image where it is of its class."""
    is_query = frame["role"].is_in(["query", "both"]).to_numpy()
    queries, some = vectors[torch.from_numpy(is_query)], frame.filter(is_query)
    numbered = some.with_row_index("query").select("query", "source", "image", *CLASS)
    rows = of_index.with_row_index("row").select("row", "source", "image", *CLASS)
    of_class = numbered.join(rows, on=CLASS).select("query", "row").to_numpy().astype(np.int64)
    others = search(queries, index, 1, of_class)
    itself = numbered.join(rows, on=["source", "image"]).select("query", "row").to_numpy().astype(np.int64)
    found = search(queries, index, 1, itself)
    labels = of_index.select(CLASS).rows()
    own = [
        similarity if labels[row] == tuple(of_query) else -np.inf
        for row, similarity, of_query in zip(
            found.rows[:, 0], found.similarities[:, 0], some.select(CLASS).rows(), strict=True
        )
    ]
    return (
        some.select(*CLASS)
        .with_row_index("query")
        .with_columns(
            similarity=pl.Series(others.similarities[:, 0]),
            nearest=of_index["domain"].gather(others.rows[:, 0]),
            own=pl.Series(own),
        )
    )


if __name__ == "__main__":
    main()
