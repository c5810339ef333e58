"""What cannot be rows of an index is refused, and the index stays as it was."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from probe.errors import UsageError
from probe.index import Index

ONE, TWO = np.ones((1, 3), np.float32), np.ones((2, 3), np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    made = Index.create(tmp_path / "index", dim=3, dtype="float16")
    made.add_vectors(["a"], ONE, pl.DataFrame({"label": ["x"]}))
    return made


@pytest.mark.parametrize(
    ("ids", "vectors", "columns", "said"),
    [
        (["b", "b"], TWO, None, "the id 'b' is there twice"),
        ([""], ONE, None, "an id is empty"),
        (["a\0"], ONE, None, "has a NUL"),
        (["b"], TWO, None, "there are 2 vectors for 1 ids"),
        (["b"], np.ones((1, 4), np.float32), None, r"floats of shape \(1, 3\)"),
        (["b"], np.ones((1, 3), np.int64), None, "int64"),
        (["b"], ONE * np.float32("nan"), None, "zero or not finite as float16, the first of 'b'"),
        (["b"], ONE * 0, None, "zero or not finite"),
        (["b"], ONE * 1e6, None, "zero or not finite as float16"),  # that float16 cannot hold
        (["b"], ONE, pl.DataFrame({"similarity": [1]}), "a column cannot be called 'similarity'"),
        (["b"], ONE, pl.DataFrame({"label": [1]}), "the column 'label' holds Int64, in the index String"),
        (["b"], ONE, pl.DataFrame({"label": ["x", "y"]}), "there are 2 rows of columns for 1 ids"),
    ],
)
def test_rows_that_cannot_be(
    index: Index, ids: list[str], vectors: np.ndarray, columns: pl.DataFrame | None, said: str
):
    with pytest.raises(UsageError, match=said):
        index.add_vectors(ids, vectors, columns)
    opened = Index.open(index.path)
    assert opened.frame.rows() == [("a", "x")]
    opened.verify()


def test_an_index_is_made_once_of_a_run_or_of_a_dimension(index: Index, tmp_path: Path):
    with pytest.raises(UsageError, match="exists already"):
        Index.create(index.path, dim=3)
    for given in ({}, {"dim": 3, "run": tmp_path}):
        with pytest.raises(UsageError, match="name one of the two"):
            Index.create(tmp_path / "other", **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no index at"):
        Index.open(tmp_path / "other")
    with pytest.raises(UsageError, match="made elsewhere"):
        _ = index.embedder
