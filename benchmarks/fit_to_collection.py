"""What an index gains by being fitted to its own images, and how long a fit is good while the index grows.

    python -m benchmarks.fit_to_collection out/runs/mobilenetv1_discriminant_seed0_pocket_* --data FOLDER

FOLDER: images with a manifest, a test split. mMP@5 / R@1 by exact search of the whole index, each image's own left out;
the mean over domains.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch

from probe.heads import Head
from probe.index import Index
from probe.runs import RunDirectory

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="a finished run of a discriminant")
    parser.add_argument("--data", help="a folder with a manifest")
    parser.add_argument("--weights", type=Path, help="of the backbone, where the run does not know them")
    asked = parser.parse_args()
    if asked.run is None or asked.data is None:
        print("no run is named: python -m benchmarks.fit_to_collection RUN --data FOLDER")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index = Index.create(path, asked.run, weights=asked.weights, device="cpu", fit_to_collection=True)
        index.add(asked.data, show_progress=True)
        measure(index, asked.run)


def measure(index: Index, run: Path) -> None:
    frame, dim = index.frame, index.manifest.dim
    ids, chance = frame["id"].to_list(), np.random.default_rng(0)
    wider = index.state.embeddings(ids).astype(np.float64)
    head = RunDirectory(run).head(torch.device("cpu"))
    assert isinstance(head, Head)
    step = head.last_step()
    print(f"{len(index):,} images; the run's own last step: {scored(frame, wider @ step.projection.numpy().T)}")
    print(f"fitted to all of them: {scored(frame, index.vectors(ids))}")
    for share in SHARES:
        count = int(share * len(ids))
        if count > dim:
            told = refitted(frame, wider, np.sort(chance.choice(len(ids), count, replace=False)), dim)
            print(f"fitted to {count:,} at random ({count / dim:.1f} a dimension): {told}")
    for domain in frame["domain"].unique().sort():
        others = np.flatnonzero((frame["domain"] != domain).to_numpy())
        print(f"fitted to {len(others):,}, before {domain} came: {refitted(frame, wider, others, dim)}")


def refitted(frame: pl.DataFrame, wider: np.ndarray, rows: np.ndarray, dim: int) -> str:
    """By the leading principal components of these rows (n,) of the wider vectors (N, m)."""
    found = wider @ np.linalg.eigh(np.cov(wider[rows].T))[1][:, -dim:]
    kept = (found**2).sum(1)
    return f"{scored(frame, found)}, kept {kept.mean() / kept[rows].mean():.2f}"


def scored(frame: pl.DataFrame, vectors: np.ndarray) -> str:
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    first = np.argsort(-similarity, axis=1, kind="stable")[:, :5]
    classes = (frame["domain"] + "\0" + frame["label"]).to_numpy()
    hits = classes[first] == classes[:, None]
    n = frame.select(pl.len().over("domain", "label"))["len"].to_numpy() - 1
    cut = np.minimum(n, 5)
    precision = [row[:count].mean() if count else np.nan for row, count in zip(hits, cut, strict=True)]
    of_queries = frame.select("domain").with_columns(p=pl.Series(precision), r=pl.Series(hits[:, 0] * 1.0))
    found = of_queries.filter(pl.Series(n > 0)).group_by("domain").agg(pl.mean("p", "r")).sort("domain")
    return f"{100 * found['p'].mean():.1f} / {100 * found['r'].mean():.1f}"  # pyright: ignore[reportOperatorIssue]


if __name__ == "__main__":
    main()
