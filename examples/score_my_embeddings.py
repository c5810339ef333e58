# pyright: strict
"""Embeddings that you made yourself, scored as this project scores its own: exact search, R@1 and mMP@5 of each domain.

    python examples/score_my_embeddings.py

The model here stands for yours: a histogram of colours. Embeddings that lie in files need no Python:
`probe evaluate mine.npy --ids mine.ids.txt --data sample`. More: docs/evaluation.md.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from probe.data import resolve_data
from probe.metrics import evaluate
from probe.search import Vectors
from probe.workspace import Workspace


def embed(path: Path) -> np.ndarray:
    """(64,) float32: how many pixels have each of 4 x 4 x 4 colours."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    counts, _ = np.histogramdd(pixels, bins=4, range=[(0, 256)] * 3)
    return np.sqrt(counts.ravel() / len(pixels)).astype(np.float32)


if __name__ == "__main__":
    manifest = resolve_data("sample", Workspace.of_user().data_root)
    test = manifest.split("test")  # a row an image: image, source, label, domain, split, role
    paths = [manifest.roots[source] / image for source, image in test.select("source", "image").iter_rows()]
    embeddings = np.stack([embed(path) for path in paths])  # (N, 64), in the order of the rows

    evaluation = evaluate(test, Vectors(embeddings), metrics=["mMP@5", "R@1"])
    scores = evaluation.scores.of("clean", "merged")
    for domain in scores.domains:
        print(f"{domain:12} mMP@5 {scores.value('mMP@5', domain):6.1%}   R@1 {scores.value('R@1', domain):6.1%}")
    print(f"{'Mean':12} mMP@5 {scores.value('mMP@5'):6.1%}   R@1 {scores.value('R@1'):6.1%}")
    print(evaluation.per_query["merged"].select("image", "mMP@5", "R@1").head(3))
