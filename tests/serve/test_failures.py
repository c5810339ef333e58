"""Failures of an index that is small enough to be looked at by hand."""

from pathlib import Path

import numpy as np
import polars as pl

from probe import Index
from probe.serve.failures import find_failures


def test_failures_are_labelled_rows_whose_nearest_other_file_has_another_label(tmp_path: Path):
    angles = {"a1": 0, "a2": 2, "b1": 30, "b2": 61.5, "a3": 60, "alone": 5, "none": 1, "both": 29, "elsewhere": 62}
    labels = ["a", "a", "b", "b", "a", "c", None, "a | b", "b"]
    domains = ["x"] * 8 + ["y"]
    index = Index.create(tmp_path / "index", dim=2)
    vectors = np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in angles.values()])
    index.add_vectors(list(angles), vectors, pl.DataFrame({"label": labels, "domain": domains}))
    found = find_failures(index)
    assert (found.labelled, found.findable, found.queries) == (8, 6, 6)
    wrong = [(query["id"], hit["id"]) for query, hit in found.failures]
    # a2 finds a1, and not the unlabelled row; both and b1 share b; "elsewhere" has b2's label in another domain.
    assert wrong == [("b2", "elsewhere"), ("a3", "b2")]
    assert [hit["similarity"] for _, hit in found.failures] == sorted((h["similarity"] for _, h in found.failures))[
        ::-1
    ]
