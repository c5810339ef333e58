"""The approximate kinds: what is said of their recall is so, and what they give is what the exact search would."""

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest

from probe.errors import UsageError
from probe.index import Index, parse_bytes
from probe.index.kinds import FEW, ApproximateName, choose
from tests.conftest import slow

ROWS, DIM = 12_000, 16


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Rows of several clusters, and ones that are queries only."""
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((60, DIM))
    found = centres[chance.integers(0, 60, ROWS + 100)] + 0.4 * chance.standard_normal((ROWS + 100, DIM))
    return found.astype(np.float32)


@pytest.fixture(scope="module", params=["hnsw", slow("ivf"), slow("ivfpq"), slow("rabitq")])
def built(request: pytest.FixtureRequest, vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Of each kind."""
    index = Index.create(tmp_path_factory.mktemp(request.param) / "index", dim=DIM)
    ids = [f"{number:05}" for number in range(ROWS)]
    columns = pl.DataFrame({"even": [number % 2 == 0 for number in range(ROWS)]})
    index.add_vectors(ids, vectors[:ROWS], columns)
    index.build(request.param, recall=0.9)
    return index


def recall(index: Index, queries: np.ndarray) -> float:
    exact, found = index.search(queries, 10, exact=True), index.search(queries, 10)
    assert exact.exact
    assert not found.exact
    similarity = dict(zip(exact.frame.select("query", "id").rows(), exact.frame["similarity"], strict=True))
    both = [(row["similarity"], similarity.get((row["query"], row["id"]))) for row in found.frame.to_dicts()]
    assert all(of_both is None or of_both == one for one, of_both in both)  # the same bits
    return sum(of_both is not None for _, of_both in both) / exact.frame.height


def test_the_recall_that_is_kept_is_that_of_other_queries_too(built: Index, vectors: np.ndarray):
    record = built.manifest.segments[0].approximate
    assert record is not None
    assert (record.kind, record.wanted) == (built.path.parent.name.rstrip("0123456789"), 0.9)
    assert record.recall >= 0.9
    assert abs(recall(built, vectors[ROWS:]) - record.recall) < 0.08
    opened = Index.open(built.path)  # what is read again is what was built
    assert opened.search(vectors[ROWS:], 10).frame.equals(built.search(vectors[ROWS:], 10).frame)


def test_what_is_added_removed_and_excluded_later_is_so_at_once(built: Index, tmp_path: Path, vectors: np.ndarray):
    index = Index.open(shutil.copytree(built.path, tmp_path / "index"))
    query = vectors[ROWS:][:1]
    first = index.search(query, 3).frame["id"].to_list()
    index.remove(first[:1])
    assert index.search(query, 2).frame["id"].to_list() == first[1:]
    assert first[1] not in index.search(query, 2, exclude=[first[1:2]]).frame["id"]
    index.add_vectors(["new"], query, pl.DataFrame({"even": [True]}))
    assert index.search(query, 1).frame["id"].to_list() == ["new"]
    filtered = index.search(query, 20, where="NOT even")
    assert filtered.exact
    assert filtered.frame["id"].to_list() == index.search(query, 20, where="NOT even", exact=True).frame["id"].to_list()
    index.build("flat")
    assert index.search(query, 5).exact
    assert not list((tmp_path / "index").glob("*.faiss"))


def test_a_kind_is_chosen_by_size_and_memory_and_the_reason_is_said():
    assert choose(FEW, 64, 1 << 30).kind == "flat"
    chosen = [choose(1_000_000, 64, memory) for memory in (2 << 30, 300 << 20, 60 << 20, 30 << 20, 1 << 20)]
    assert [each.kind for each in chosen] == ["hnsw", "ivf", "ivfpq", "rabitq", "flat"]
    assert "hnsw would take 0.52 GB" in chosen[1].reason
    assert "hours to build" in choose(10_000_000, 64, 8 << 30).reason
    assert parse_bytes("2GB") == 2e9
    assert parse_bytes("1.5 mb") == 1.5e6
    for wrong in ("2", "GB", "-1GB", "two GB", "nanGB", "infGB"):
        with pytest.raises(UsageError, match="memory"):
            parse_bytes(wrong)


def test_too_few_rows_and_unknown_kinds_are_refused(tmp_path: Path):
    index = Index.create(tmp_path / "index", dim=2)
    index.add_vectors(["a"], np.ones((1, 2), np.float32))
    with pytest.raises(UsageError, match="there are 1 rows, and ivf is made of 10,000"):
        index.build("ivf")
    with pytest.raises(UsageError, match="there is no kind 'tree'"):
        index.build("tree")  # type: ignore[arg-type]
    assert index.build("auto").kind == "flat"
    assert get_args(ApproximateName) == ("ivf", "ivfpq", "hnsw", "rabitq")
