"""An index image that several rows list, one for each of its labels, is one image: it takes one rank, is relevant when
any of its labels is the query's, and counts once in n, in whatever order its rows stand. DeepFashion2's validation
index is such."""

import math
from itertools import permutations

import numpy as np
import polars as pl
import pytest
import torch

from probe.data.manifest import COLUMNS, Manifest
from probe.metrics import evaluate

Row = tuple[str, list[str], str]


def score(rows: list[Row], vectors: dict[str, list[float]]) -> tuple[float, float]:
    """mMP@5 and R@1 of the one query."""
    cells = [(image, "s", labels, "d", "test", role) for image, labels, role in rows]
    frame = Manifest(pl.DataFrame(cells, COLUMNS, orient="row")).split("test")
    embeddings = torch.tensor([vectors[image] for image, _, _ in rows], dtype=torch.float32)
    found = evaluate(frame, embeddings).per_query["merged"].filter(pl.col("image") == "q")
    return found["mMP@5"][0], found["R@1"][0]


def definition(rows: list[Row], vectors: dict[str, list[float]]) -> tuple[float, float]:
    """PROTOCOLS section 1 in plain loops over images."""
    (wanted,) = (set(labels) for image, labels, _ in rows if image == "q")
    of_image: dict[str, set[str]] = {}
    for image, labels, role in rows:
        if role == "index":
            of_image.setdefault(image, set()).update(labels)

    def similarity(image: str) -> float:
        one, other = np.array(vectors["q"]), np.array(vectors[image])
        return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))

    relevant = [bool(of_image[image] & wanted) for image in sorted(of_image, key=similarity, reverse=True)]
    cut = min(sum(relevant), 5)
    return sum(relevant[:cut]) / cut, float(relevant[0])


VECTORS = {"q": [1, 0], "x": [1, 0.1], "y": [1, 0.4], "w": [1, 0.2], "z": [0, 1]}
CASES = {
    "one label of two is the query's": [("x", ["b"], "index"), ("x", ["a"], "index"), ("y", ["a"], "index")],
    "both labels are the query's": [
        ("x", ["a"], "index"),
        ("x", ["b"], "index"),
        ("w", ["c"], "index"),
        ("y", ["a"], "index"),
    ],
}


@pytest.mark.parametrize(("case", "labels"), list(zip(CASES, (["a"], ["a", "b"]), strict=True)))
def test_an_index_image_under_two_labels_is_one_result_in_any_order_of_its_rows(case: str, labels: list[str]) -> None:
    for rows in permutations(CASES[case]):
        benchmark: list[Row] = [("q", labels, "query"), *rows]
        assert score(benchmark, VECTORS) == pytest.approx(definition(benchmark, VECTORS))
