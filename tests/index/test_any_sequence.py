"""After any sequence of changes an index is a dictionary, and its answers are, bit for bit, those of one built anew."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from probe.index import Hits, Index
from probe.search.reference import reference_search
from tests.conftest import examples

DIM = 3
IDS = [f"{group}/{number}" for group in "aé" for number in range(9)]
KINDS = ("float32", "float16")
# few directions, so that there are ties, and vectors of several lengths in the same direction
VALUES = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM).filter(any)
QUERIES = np.array([[1, 0, 0], [1, 1, 1], [-1, 2, 0.5], [0.1, -0.2, 0.7]], np.float32)
LABELS = st.sampled_from(["shoe", "hat", None])
ROWS = st.dictionaries(st.sampled_from(IDS), st.tuples(VALUES, LABELS), min_size=1, max_size=8)
Row = tuple[np.ndarray, str | None]


def put(index: Index, rows: dict[str, Row]) -> None:
    columns = pl.DataFrame({"label": pl.Series([label for _, label in rows.values()], dtype=pl.String)})
    index.add_vectors(list(rows), np.stack([vector for vector, _ in rows.values()]), columns)


def bits(hits: Hits) -> tuple[list, bytes]:
    frame = hits.frame
    return frame.select("query", "rank", "id", "label").rows(), frame["similarity"].to_numpy().tobytes()


class Changing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.rows: dict[str, Row] = {}
        self.earlier: list[tuple[Index, dict[str, Row]]] = []

    @initialize(dtype=st.sampled_from(KINDS))
    def create(self, dtype: str) -> None:
        self.dtype = dtype
        self.index = self.new("index")

    def new(self, name: str) -> Index:
        return Index.create(self.home / name, dim=DIM, dtype=self.dtype)  # type: ignore[arg-type]

    @rule(rows=ROWS, scale=st.sampled_from([1.0, 0.3]))
    def add(self, rows: dict[str, tuple[list[int], str | None]], scale: float) -> None:
        made = {
            image: (np.array(values, np.float32) * np.float32(scale), label) for image, (values, label) in rows.items()
        }
        put(self.index, made)
        self.rows |= made

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True)) if self.rows else []
        self.index.remove(ids)
        self.rows = {image: row for image, row in self.rows.items() if image not in ids}

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def open_again(self) -> None:
        self.earlier.append((self.index, dict(self.rows)))
        self.index = Index.open(self.home / "index")

    @invariant()
    def it_is_the_dictionary(self) -> None:
        if hasattr(self, "index"):
            require_rows(self.index, self.rows, self.dtype)
            self.index.verify()

    def teardown(self) -> None:
        if hasattr(self, "index"):
            anew = self.new("anew")
            if self.rows:
                put(anew, self.rows)
            for where in (None, "label = 'shoe'"):
                for k in (1, 4, 100):
                    found = self.index.search(QUERIES, k, where=where)
                    if self.rows:
                        assert bits(found) == bits(anew.search(QUERIES, k, where=where))
                    require_by_brute_force(found, self.rows, k, where, self.dtype)
            for index, rows in self.earlier:  # who had it open has what was there then
                require_rows(index, rows, self.dtype)
        shutil.rmtree(self.home)


def require_rows(index: Index, rows: dict[str, Row], dtype: str) -> None:
    assert len(index) == len(rows)
    assert index.frame["id"].to_list() == sorted(rows)
    if rows:
        assert index.frame["label"].to_list() == [rows[image][1] for image in sorted(rows)]
        stored = np.stack([rows[image][0] for image in sorted(rows)]).astype(dtype).astype(np.float32)
        assert index.vectors(sorted(rows)).tobytes() == stored.tobytes()


def require_by_brute_force(found: Hits, rows: dict[str, Row], k: int, where: str | None, dtype: str) -> None:
    ids = [image for image in sorted(rows) if where is None or rows[image][1] == "shoe"]
    if not ids:
        assert found.frame.is_empty()
        return
    vectors = np.stack([rows[image][0] for image in ids]).astype(dtype).astype(np.float32)
    expected = reference_search(QUERIES, vectors, k, np.zeros((0, 2), np.int64))
    for query in range(len(QUERIES)):
        hits, there = found.of(query), expected.rows[query] >= 0
        np.testing.assert_allclose(hits["similarity"], expected.similarities[query][there], atol=1e-12)
        exact = dict(zip(ids, map(float, similarities(QUERIES[query], vectors)), strict=True))
        for image, similarity in hits.select("id", "similarity").rows():
            assert abs(exact[image] - similarity) < 1e-12
        pairs = hits.select("similarity", "id").rows()
        assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))


def similarities(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    double, rows = query.astype(np.float64), vectors.astype(np.float64)
    return rows @ double / (np.linalg.norm(rows, axis=1) * np.linalg.norm(double))


TestChanging = Changing.TestCase
TestChanging.settings = settings(examples(6, 80), stateful_step_count=12)
