import math

import faiss
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from probe.errors import ProbeError
from probe.retrieval import search as search_module
from probe.retrieval.search import Neighbours, same_image_pairs, search

NONE = np.zeros((0, 2), np.int64)
BLOCKS = [(1, 1, 0), (3, 7, 1), (7, 3, 2), (2, 5, 50)]


def brute_force(queries: np.ndarray, index: np.ndarray, k: int, excluded: np.ndarray) -> Neighbours:
    """Cosines in float64, one pair at a time; the best k, ties to the earlier row."""
    rows, similarities = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf)
    left_out = {(int(query), int(row)) for query, row in excluded}
    for i, query in enumerate(queries.astype(np.float64)):
        found = []
        for j, vector in enumerate(index.astype(np.float64)):
            if (i, j) not in left_out:
                cosine = math.fsum(query * vector) / math.sqrt(math.fsum(query**2) * math.fsum(vector**2))
                found.append((-cosine, j))
        for rank, (negative, j) in enumerate(sorted(found)[:k]):
            rows[i, rank], similarities[i, rank] = j, -negative
    return Neighbours(rows, similarities)


def assert_same(found: Neighbours, expected: Neighbours, tolerance: float = 1e-6) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.similarities, expected.similarities, rtol=0, atol=tolerance)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Queries and index drawn from a small pool of directions, so that duplicates abound; lengths are powers of two,
    which leave a direction's bits as they are. Other ties are too rare to happen, or else assumed away."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = rng.standard_normal((rng.integers(1, 13), rng.integers(2, 10)), np.float32)
    unit = pool / np.linalg.norm(pool.astype(np.float64), axis=1, keepdims=True)
    similarities = np.sort(unit @ unit.T, axis=1)
    assume((np.diff(similarities, axis=1) > 1e-5).all())

    def vectors(most: int) -> np.ndarray:
        size = rng.integers(1, most + 1)
        lengths = 2.0 ** rng.integers(-20, 21, (size, 1))
        return (pool[rng.integers(0, len(pool), size)] * lengths).astype(np.float32)

    queries, index = vectors(8), vectors(40)
    pairs = np.argwhere(rng.random((len(queries), len(index))) < draw(st.sampled_from([0.0, 0.1, 0.7, 1.0])))
    return queries, index, int(rng.integers(1, 46)), pairs.astype(np.int64)


@settings(max_examples=250, deadline=None)
@given(problems())
def test_neighbours_equal_brute_force_in_float64(problem: tuple[np.ndarray, np.ndarray, int, np.ndarray]) -> None:
    queries, index, k, pairs = problem
    found = search(torch.from_numpy(queries), torch.from_numpy(index), k, pairs)
    assert found.rows.shape == found.similarities.shape == (len(queries), k)
    assert_same(found, brute_force(queries, index, k, pairs))


@pytest.mark.parametrize(("query_block", "index_block", "spare"), BLOCKS)
def test_blocks_that_divide_nothing_give_the_neighbours_of_brute_force(
    query_block: int, index_block: int, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "QUERY_BLOCK", query_block)
    monkeypatch.setattr(search_module, "INDEX_BLOCK", index_block)
    monkeypatch.setattr(search_module, "SPARE_CANDIDATES", spare)

    @settings(max_examples=75, deadline=None)
    @given(problems())
    def check(problem: tuple[np.ndarray, np.ndarray, int, np.ndarray]) -> None:
        queries, index, k, pairs = problem
        found = search(torch.from_numpy(queries), torch.from_numpy(index), k, pairs)
        assert_same(found, brute_force(queries, index, k, pairs))

    check()


def random_vectors(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("query_block", "index_block", "spare"), BLOCKS)
def test_blocks_change_no_bit(query_block: int, index_block: int, spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, index = random_vectors(11, 16), random_vectors(200, 16, seed=1)
    pairs = np.array([(query, (37 * query) % 200) for query in range(11)])
    whole = search(queries, index, 6, pairs)
    for name, value in (("QUERY_BLOCK", query_block), ("INDEX_BLOCK", index_block), ("SPARE_CANDIDATES", spare)):
        monkeypatch.setattr(search_module, name, value)
    blockwise = search(queries, index, 6, pairs)
    np.testing.assert_array_equal(blockwise.rows, whole.rows)
    np.testing.assert_array_equal(blockwise.similarities, whole.similarities)


def test_neighbours_equal_those_of_faiss() -> None:
    queries, index = random_vectors(50, 64), random_vectors(3000, 64, seed=1)
    flat = faiss.IndexFlatIP(64)
    flat.add(F.normalize(index).numpy())  # pyright: ignore[reportCallIssue]
    similarities, rows = flat.search(F.normalize(queries).numpy(), 6)  # pyright: ignore[reportCallIssue]
    assert_same(search(queries, index, 6, NONE), Neighbours(rows, similarities))


class Exhausted:
    """Counts the queries that are scored against the whole index."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queries = 0
        exhaustive = search_module._exhaustive

        def counting(*arguments):
            self.queries += 1
            return exhaustive(*arguments)

        monkeypatch.setattr(search_module, "_exhaustive", counting)


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> Exhausted:
    return Exhausted(monkeypatch)


def test_random_vectors_need_no_exhaustive_search(exhausted: Exhausted) -> None:
    search(random_vectors(50, 64), random_vectors(3000, 64, seed=1), 5, NONE)
    assert exhausted.queries == 0


def test_more_duplicates_than_candidates_are_searched_exhaustively_and_found_in_index_order(
    exhausted: Exhausted,
) -> None:
    queries, index = random_vectors(3, 16), random_vectors(400, 16, seed=1)
    copies = np.arange(3, 303, 3)
    index[copies] = queries[1] * 4
    pairs = np.array([(1, 3), (1, 9)])
    found = search(queries, index, 5, pairs)
    assert exhausted.queries == 1
    assert found.rows[1].tolist() == [6, 12, 15, 18, 21]
    assert_same(found, brute_force(queries.numpy(), index.numpy(), 5, pairs))


def test_an_index_of_one_vector_many_times_is_answered_in_index_order(exhausted: Exhausted) -> None:
    index = random_vectors(1, 8).expand(100, -1).contiguous()
    found = search(index, index, 5, np.stack([np.arange(100), np.arange(100)], axis=1))
    assert exhausted.queries == 100
    expected = [[row for row in range(100) if row != query][:5] for query in range(100)]
    np.testing.assert_array_equal(found.rows, expected)
    assert (found.similarities == found.similarities[0, 0]).all(), "equal vectors have equal similarities, to the bit"


@pytest.mark.parametrize("spare", [0, 3, 32])
def test_similarities_that_float32_cannot_tell_apart_are_ordered_in_float64(
    spare: int, exhausted: Exhausted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SPARE_CANDIDATES", spare)
    rng = np.random.default_rng(3)
    base = rng.standard_normal(64).astype(np.float32)
    index = torch.from_numpy((base + rng.normal(0, 1e-7, (150, 64))).astype(np.float32))
    queries = torch.from_numpy((base + rng.normal(0, 0.5, (4, 64))).astype(np.float32))
    # exact is what happens after the division by the length, which rounds to float32
    unit_queries, unit_index = (search_module._normalized(each, "").double().numpy() for each in (queries, index))
    exact = np.array([[math.fsum(query * vector) for vector in unit_index] for query in unit_queries])
    found = search(queries, index, 5, NONE)
    assert exhausted.queries == 4
    for query, rows in enumerate(found.rows):
        np.testing.assert_allclose(found.similarities[query], exact[query, rows], rtol=0, atol=1e-15)
        assert (np.sort(exact[query])[::-1][:5] - exact[query, rows] < 1e-15).all()


def test_duplicates_of_the_query_are_found_and_only_the_query_itself_is_left_out() -> None:
    index = random_vectors(60, 8)
    index[[2, 40]] = index[10].clone()
    ids = [f"{row}.jpg" for row in range(60)]
    found = search(index, index, 3, same_image_pairs(ids, ids))
    assert found.rows[10, :2].tolist() == [2, 40]
    assert found.rows[2, :2].tolist() == [10, 40]
    assert not (found.rows == np.arange(60)[:, None]).any()


def test_one_image_that_is_the_query_itself_finds_nothing() -> None:
    image = random_vectors(1, 8)
    found = search(image, image, 3, same_image_pairs(["a"], ["a"]))
    assert found.rows.tolist() == [[-1, -1, -1]]
    assert np.isneginf(found.similarities).all()


def test_past_the_end_of_the_index_there_is_minus_one() -> None:
    found = search(random_vectors(2, 8), random_vectors(3, 8, seed=1), 5, np.array([(1, 0)]))
    assert (found.rows[0, :3] >= 0).all()
    assert (found.rows[1, :2] > 0).all()
    for row, count in zip(range(2), (3, 2), strict=True):
        assert (found.rows[row, count:] == -1).all()
        assert np.isneginf(found.similarities[row, count:]).all()


@pytest.mark.parametrize("length", [1e-25, 1e-15, 1e-9, 1e9, 1e25])
def test_the_length_of_a_vector_does_not_count(length: float) -> None:
    queries, index = random_vectors(4, 16), random_vectors(30, 16, seed=1)
    expected = brute_force(queries.numpy(), index.numpy(), 5, NONE)
    lengths = torch.ones(30, 1)
    lengths[::3] = length
    assert_same(search(queries, index * lengths, 5, NONE), expected)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("role", ["query", "index"])
def test_a_vector_without_a_direction_is_a_clear_error(role: str, value: float) -> None:
    vectors = {"query": random_vectors(4, 8), "index": random_vectors(9, 8)}
    vectors[role][2:4] = value
    with pytest.raises(ProbeError, match=rf"2 {role} embedding\(s\) are zero or not finite, the first in row 2"):
        search(vectors["query"], vectors["index"], 3, NONE)


def test_the_input_is_left_as_it_was() -> None:
    queries, index = random_vectors(4, 8) * 3, random_vectors(9, 8, seed=1) * 5
    before = queries.clone(), index.clone()
    search(queries, index, 3, np.array([(0, 0)]))
    assert torch.equal(queries, before[0])
    assert torch.equal(index, before[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=8), st.lists(st.sampled_from("abcde"), max_size=12))
def test_same_image_pairs_are_all_pairs_of_equal_ids_in_order(queries: list[str], index: list[str]) -> None:
    expected = [(i, j) for i, query in enumerate(queries) for j, image in enumerate(index) if query == image]
    pairs = same_image_pairs(queries, index)
    assert pairs.shape == (len(expected), 2)
    assert pairs.dtype == np.int64
    assert [tuple(pair) for pair in pairs.tolist()] == expected
