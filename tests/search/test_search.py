import math
from typing import Any

import faiss
import h5py
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from probe.errors import ProbeError, UsageError
from probe.search import UNIT, Distance, Neighbours, Vectors, search
from probe.search import exact as exact_search
from probe.search.batch import Blocks
from probe.search.distances import DISTANCES as DISTANCES_OF
from probe.search.reference import reference_search, similarity
from tests.conftest import examples

NONE = np.zeros((0, 2), np.int64)
BLOCKS = [
    Blocks(),
    Blocks(queries=1, product=5, group=1, least=1, chunk=13, gathered=1, dense=1, kept=1, spare=0, float64=1),
    Blocks(queries=3, product=6, group=3, least=3, chunk=40, gathered=40, dense=100, kept=1, spare=0, float64=2),
    Blocks(
        queries=7,
        product=8,
        group=4,
        least=2,
        chunk=59,
        numbers=100,
        gathered=999,
        dense=300,
        kept=200,
        spare=2,
        float64=5,
    ),
    Blocks(
        queries=7,
        product=64,
        group=32,
        least=16,
        chunk=64,
        gathered=999,
        kept=200,
        spare=2,
        float64=5,
        compiled=0,
        few=0,
    ),
]
DISTANCES: list[Distance] = ["cosine", "euclidean"]


def assert_same(found: Neighbours, expected: Neighbours, tolerance: float = 1e-12) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.similarities, expected.similarities, rtol=tolerance, atol=tolerance)


def assert_same_bits(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


def some_pairs(rng: np.random.Generator, queries: int, index: int, share: float) -> np.ndarray:
    return np.argwhere(rng.random((queries, index)) < share).astype(np.int64)


shares, seeds, blocks = st.sampled_from([0.0, 0.1, 0.7, 1.0]), st.integers(0, 2**32 - 1), st.sampled_from(BLOCKS)


@examples(45, 200)
@given(seeds, shares, blocks)
def test_cosine_neighbours_equal_brute_force_in_float64(seed: int, share: float, blocks: Blocks) -> None:
    """Drawn from a small pool of directions, so that duplicates abound; lengths are powers of two, which leave a
    direction's bits as they are. Other ties are too rare to happen, or else assumed away."""
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal((rng.integers(1, 13), rng.integers(2, 10)), np.float32)
    unit = pool / np.linalg.norm(pool.astype(np.float64), axis=1, keepdims=True)
    similarities = np.sort(unit @ unit.T, axis=1).astype(np.float64)
    assume(float(np.diff(similarities, axis=1).min(initial=1)) > 1e-12)

    def vectors(most: int) -> np.ndarray:
        size = rng.integers(1, most + 1)
        return (pool[rng.integers(0, len(pool), size)] * 2.0 ** rng.integers(-20, 21, (size, 1))).astype(np.float32)

    queries, index, k = vectors(8), vectors(40), int(rng.integers(1, 46))
    pairs = some_pairs(rng, len(queries), len(index), share)
    found = search(torch.from_numpy(queries), torch.from_numpy(index), k, pairs, blocks=blocks)
    assert found.rows.shape == found.similarities.shape == (len(queries), k)
    assert_same(found, reference_search(queries, index, k, pairs))


@examples(45, 200)
@given(seeds, shares, blocks, st.sampled_from([0, 1000, -(2**20)]))
def test_euclidean_neighbours_of_whole_numbers_equal_brute_force_ties_and_all(
    seed: int, share: float, blocks: Blocks, offset: int
) -> None:
    """Squared distances of whole numbers are exact, so nearly all of these problems consist of ties."""
    rng = np.random.default_rng(seed)
    dim, reach = rng.integers(1, 6), rng.integers(1, 4)
    queries, index = (
        (rng.integers(-reach, reach + 1, (rng.integers(1, most), dim)) + offset).astype(np.float32) for most in (9, 41)
    )
    k, pairs = int(rng.integers(1, 46)), some_pairs(rng, len(queries), len(index), share)
    found = search(torch.from_numpy(queries), torch.from_numpy(index), k, pairs, "euclidean", blocks=blocks)
    assert_same_bits(found, reference_search(queries, index, k, pairs, "euclidean"))


@examples(25, 200)
@given(seeds, blocks, st.sampled_from(DISTANCES), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_unnormalised_vectors_have_the_neighbours_of_reference_search(
    seed: int, blocks: Blocks, distance: Distance, dtype: type, far: bool
) -> None:
    rng = np.random.default_rng(seed)
    dim, centre = rng.integers(1, 9), 1e5 * rng.standard_normal() if far else 0
    queries, index = (
        (rng.standard_normal((rng.integers(1, most), dim)) * rng.lognormal(size=1) + centre).astype(dtype)
        for most in (7, 60)
    )
    k, pairs = int(rng.integers(1, 70)), some_pairs(rng, len(queries), len(index), 0.1)
    found = search(torch.from_numpy(queries), torch.from_numpy(index), k, pairs, distance, blocks=blocks)
    expected = reference_search(queries, index, k, pairs, distance)
    np.testing.assert_allclose(found.similarities, expected.similarities, rtol=1e-11, atol=1e-14)
    for query, rows in enumerate(found.rows):
        rows = rows[rows >= 0]
        assert len(set(rows)) == len(rows) == (expected.rows[query] >= 0).sum()
        assert not {(query, row) for row in rows.tolist()} & set(map(tuple, pairs.tolist()))
        exact = [similarity(queries[query].astype(float), index[row].astype(float), distance) for row in rows]
        np.testing.assert_allclose(found.similarities[query, : len(rows)], exact, rtol=1e-11, atol=1e-14)


@pytest.mark.slow
@examples(25, 200)
@given(seeds, blocks, st.sampled_from([0.0, 1e-7, 1.0]))
def test_rows_known_to_be_of_unit_length_have_the_same_neighbours_to_the_bit(
    seed: int, blocks: Blocks, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    queries, index = (rng.standard_normal(5) + spread * rng.standard_normal((rng.integers(1, n), 5)) for n in (7, 300))
    index /= np.linalg.norm(index, axis=1, keepdims=True) * (1 + 0.9 * UNIT * rng.uniform(-1, 1, (len(index), 1)))
    index, k = index.astype(np.float32), int(rng.integers(1, 46))
    pairs = some_pairs(rng, len(queries), len(index), 0.1)
    found = search(Vectors(queries), Vectors(index, unit=True), k, pairs, blocks=blocks)
    assert_same_bits(found, search(Vectors(queries), Vectors(index), k, pairs, blocks=blocks))


KINDS = {
    "apart": lambda rng, n, d: rng.standard_normal((n, d)),
    "collapsed": lambda rng, n, d: rng.standard_normal(d) + 10.0 ** rng.integers(-12, -2) * rng.standard_normal((n, d)),
    "whole numbers": lambda rng, n, d: rng.integers(-2, 3, (n, d)),
    "one-hot": lambda rng, n, d: np.eye(d)[rng.integers(0, d, n)] * rng.choice([-1.0, 1.0, 3.0], (n, 1)),
    "copies": lambda rng, n, d: rng.standard_normal((1 + n // 20, d))[rng.integers(0, 1 + n // 20, n)],
    "far": lambda rng, n, d: 1e4 * rng.standard_normal(d) + rng.standard_normal((n, d)),
    "of any length": lambda rng, n, d: rng.standard_normal((n, d)) * 10.0 ** rng.integers(-4, 4, (n, 1)),
    "sparse": lambda rng, n, d: rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.1),
}


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(seeds, st.sampled_from(list(KINDS)), st.sampled_from(DISTANCES), st.sampled_from([np.float32, np.float64]))
def test_thousands_of_searches_are_the_sorted_exact_similarities_to_the_bit(
    seed: int, kind: str, distance: Distance, dtype: type
) -> None:
    rng = np.random.default_rng(seed)
    q, n, dim = rng.integers(1, 20), rng.integers(1, 400), rng.choice([1, 2, 3, 8, 33, 64, 200])
    vectors = KINDS[kind](rng, q + n, dim).astype(dtype)
    vectors[(vectors == 0).all(axis=1)] = 1
    queries, index = torch.from_numpy(vectors).split([int(q), int(n)])
    k = int(rng.choice(np.array([1, 5, 11, 33, 101, n, n + 3])))
    pairs = some_pairs(rng, len(queries), len(index), rng.choice([0, 0.02, 0.5, 0.95, 1]))
    size = int(rng.choice([1, 2, 8, 64]))
    tiny = Blocks(
        queries=int(rng.integers(1, 25)),
        product=size * int(rng.integers(1, 9)),
        group=size,
        chunk=int(rng.integers(size, 500)),
        gathered=int(rng.integers(1, 5000)),
        dense=int(rng.integers(1, 5000)),
        kept=int(rng.choice([1, 300, 100_000])),
        spare=int(rng.choice([0, 1, 10])),
        float64=int(rng.integers(1, 20)),
        compiled=0,
        few=int(rng.choice([0, 12])),
    )
    exact = DISTANCES_OF[distance].exact
    similarities = np.stack([exact(query.expand(len(index), -1), index).numpy() for query in queries])
    similarities[pairs[:, 0], pairs[:, 1]] = -np.inf
    rows = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(similarities, rows, axis=1)
    past = ((0, 0), (0, k - rows.shape[1]))
    rows = np.pad(np.where(np.isneginf(expected), -1, rows), past, constant_values=-1)
    expected = Neighbours(rows, np.pad(expected, past, constant_values=-np.inf))
    assert_same_bits(search(queries, index, k, pairs, distance, blocks=tiny), expected)


def random_vectors(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("spread", [1.0, 1e-7], ids=["apart", "close"])
def test_blocks_and_threads_change_no_bit(distance: Distance, spread: float) -> None:
    base = random_vectors(1, 16, seed=2)
    queries, index = base + spread * random_vectors(7, 16), base + spread * random_vectors(150, 16, seed=1)
    index[70:130] = index[:60].clone()
    pairs = np.array([(query, (37 * query) % 150) for query in range(7)])
    whole = search(queries, index, 6, pairs, distance)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for each in BLOCKS:
                assert_same_bits(search(queries, index, 6, pairs, distance, blocks=each), whole)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [6, 101])
def test_neighbours_equal_those_of_faiss(distance: Distance, k: int) -> None:
    queries, index = random_vectors(50, 64), random_vectors(5000, 64, seed=1)
    if distance == "cosine":
        queries, index = F.normalize(queries), F.normalize(index)
    flat: Any = faiss.IndexFlatIP(64) if distance == "cosine" else faiss.IndexFlatL2(64)
    flat.add(index.numpy())
    similarities, rows = flat.search(queries.numpy(), k)
    if distance == "euclidean":
        similarities = -np.sqrt(similarities)
    found = search(queries, index, k, NONE, distance)
    np.testing.assert_allclose(found.similarities, similarities, rtol=1e-5, atol=1e-6)
    assert (found.rows == rows).mean() > 0.99, "float32 puts few in another order"
    common = [len(np.intersect1d(*each)) for each in zip(found.rows, rows, strict=True)]
    assert min(common) >= k - 1


@pytest.mark.parametrize("distance", DISTANCES)
def test_another_order_of_the_index_changes_only_the_order_of_exact_ties(distance: Distance) -> None:
    queries, index = random_vectors(20, 8), random_vectors(400, 8, seed=1)
    index[200:250] = index[:50].clone()
    order = np.random.default_rng(0).permutation(400)
    found = search(queries, index, 30, NONE, distance)
    permuted = search(queries, index[torch.from_numpy(order)], 30, NONE, distance)
    np.testing.assert_array_equal(permuted.similarities, found.similarities)
    assert torch.equal(index[torch.from_numpy(order[permuted.rows])], index[torch.from_numpy(found.rows)])


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many queries float32 leaves open, and the index rows that they are then compared with."""
    seen, decide = [], exact_search.decide

    def counting(batch: Any) -> Any:
        seen.append((len(batch.queries), len(batch.index)))
        return decide(batch)

    monkeypatch.setattr(exact_search, "decide", counting)
    return seen


@pytest.mark.parametrize("distance", DISTANCES)
def test_float32_settles_random_vectors(distance: Distance, left_open: list) -> None:
    search(random_vectors(50, 64), random_vectors(20_000, 64, seed=1), 5, NONE, distance)
    assert not left_open


def test_float32_settles_distances_far_from_the_origin(left_open: list) -> None:
    queries, index = (1000 + random_vectors(count, 64, seed=count) for count in (50, 5000))
    found = search(queries, index, 5, NONE, "euclidean")
    assert not left_open
    distances = torch.cdist(queries.double(), index.double(), compute_mode="donot_use_mm_for_euclid_dist")
    expected = distances.neg().topk(5)
    assert_same(found, Neighbours(expected.indices.numpy(), expected.values.numpy()))


@pytest.mark.parametrize("distance", DISTANCES)
def test_of_thousands_of_duplicates_only_the_first_are_compared(distance: Distance, left_open: list) -> None:
    queries, index = random_vectors(4, 16), random_vectors(10_000, 16, seed=1)
    copies = np.arange(3, 9003, 3)
    index[copies] = queries[1].clone()
    found = search(queries, index, 5, np.array([(1, 3), (1, 9)]), distance)
    assert found.rows[1].tolist() == [6, 12, 15, 18, 21]
    assert left_open == [(1, 10_000 - len(copies) + 7)]


@pytest.mark.parametrize("distance", DISTANCES)
def test_an_index_of_one_vector_many_times_is_answered_in_index_order(distance: Distance, left_open: list) -> None:
    index = random_vectors(1, 8).expand(3000, -1)
    found = search(index, index, 5, np.stack([np.arange(3000), np.arange(3000)], axis=1), distance)
    assert left_open == [(3000, 6)]
    expected = [[row for row in range(6) if row != query][:5] for query in range(3000)]
    np.testing.assert_array_equal(found.rows, expected)
    assert (found.similarities == found.similarities[0, 0]).all(), "equal vectors have equal similarities, to the bit"


def test_binary_vectors_are_answered_in_index_order() -> None:
    index = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (3000, 10)).astype(np.float32))
    found = search(index[:20], index, 101, NONE, "euclidean")
    assert_same_bits(found, reference_search(index[:20].numpy(), index.numpy(), 101, NONE, "euclidean"))


@pytest.mark.parametrize("distance", DISTANCES)
def test_similarities_that_float32_cannot_tell_apart_are_ordered_in_float64(
    distance: Distance, left_open: list
) -> None:
    rng = np.random.default_rng(3)
    base = rng.standard_normal(64).astype(np.float32)
    index = (base + rng.normal(0, 1e-7, (150, 64))).astype(np.float32)
    queries = (base + rng.normal(0, 0.5, (4, 64))).astype(np.float32)
    found = search(torch.from_numpy(queries), torch.from_numpy(index), 5, NONE, distance)
    assert left_open or distance == "euclidean", "which is centred, and so keeps its digits"
    expected = reference_search(queries, index, 5, NONE, distance)
    np.testing.assert_allclose(found.similarities, expected.similarities, rtol=4e-15, atol=0)


def test_duplicates_of_the_query_are_found_and_only_the_query_itself_is_left_out() -> None:
    index = random_vectors(60, 8)
    index[[2, 40]] = index[10].clone()
    found = search(index, index, 3, np.array([(row, row) for row in range(60)]))
    assert found.rows[10, :2].tolist() == [2, 40]
    assert found.rows[2, :2].tolist() == [10, 40]
    assert not (found.rows == np.arange(60)[:, None]).any()


def test_one_image_that_is_the_query_itself_finds_nothing() -> None:
    image = random_vectors(1, 8)
    found = search(image, image, 3, np.array([(0, 0)]))
    assert found.rows.tolist() == [[-1, -1, -1]]
    assert np.isneginf(found.similarities).all()


@pytest.mark.parametrize(("queries", "index"), [(0, 3), (2, 0), (0, 0)])
def test_no_queries_or_no_index_finds_nothing(queries: int, index: int) -> None:
    for distance in DISTANCES:
        found = search(random_vectors(queries, 4), random_vectors(index, 4), 2, NONE, distance)
        assert found.rows.tolist() == [[-1, -1]] * queries


@pytest.mark.parametrize("length", [1e-25, 1e-15, 1e-9, 1e9, 1e25])
def test_the_length_of_a_vector_does_not_count_for_the_cosine(length: float) -> None:
    queries, index = random_vectors(4, 16), random_vectors(30, 16, seed=1)
    expected = reference_search(queries.numpy(), index.numpy(), 5, NONE)
    lengths = torch.ones(30, 1)
    lengths[::3] = length
    assert_same(search(queries, index * lengths, 5, NONE), expected, 1e-6)
    assert_same(search(queries.double(), index.double() * lengths.double() ** 8, 5, NONE), expected, 1e-6)


@pytest.mark.parametrize("length", [1e-30, 1e30])
def test_distances_neither_overflow_nor_vanish(length: float) -> None:
    queries, index = random_vectors(4, 16) * length, random_vectors(30, 16, seed=1) * length
    expected = reference_search(queries.numpy(), index.numpy(), 5, NONE, "euclidean")
    found = search(queries, index, 5, NONE, "euclidean")
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_allclose(found.similarities, expected.similarities, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("role", ["query", "index"])
def test_a_vector_without_a_direction_is_a_clear_error(role: str, value: float) -> None:
    vectors = {"query": random_vectors(4, 8), "index": random_vectors(9, 8)}
    vectors[role][2:4] = value
    with pytest.raises(ProbeError, match=rf"2 {role} embedding\(s\) are zero or not finite, the first in row 2"):
        search(vectors["query"], vectors["index"], 3, NONE)


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e200])
def test_a_vector_without_a_distance_is_a_clear_error_in_a_later_block_too(value: float) -> None:
    index = torch.zeros(70_000, 2, dtype=torch.float64)
    index[[66_000, 69_000]] = value
    with pytest.raises(
        ProbeError, match=r"2 index embedding\(s\) are not finite, or beyond 1e\+150, the first in row 66"
    ):
        search(index[:2], index, 3, NONE, "euclidean")


@pytest.mark.parametrize(
    ("dim", "pairs", "says"),
    [
        (9, NONE, "queries have 8 dimensions, the index has 9"),
        (8, np.array([(1, 3), (4, 0)]), "same_image names query 4 and row 0, of 4 queries and 30 rows"),
        (8, np.array([(-1, 3)]), "same_image names query -1 and row 3"),
        (8, np.array([1, 2]), "it is \\(P, 2\\) of int64"),
        (8, np.array([(1.0, 2.0)]), "it is \\(P, 2\\) of int64"),
    ],
)
def test_a_question_that_cannot_be_asked_is_a_clear_error(dim: int, pairs: np.ndarray, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        search(random_vectors(4, 8), random_vectors(30, dim), 3, pairs)


def test_pairs_to_leave_out_come_in_any_order_and_number() -> None:
    queries, index = random_vectors(4, 8), random_vectors(30, 8, seed=1)
    pairs = np.array([(3, 9), (0, 4), (3, 2), (0, 4), (1, 29)])
    expected = search(queries, index, 30, np.unique(pairs, axis=0))
    assert_same_bits(search(queries, index, 30, pairs), expected)


def test_progress_adds_up_to_all_comparisons() -> None:
    for each in BLOCKS:
        told = []
        search(random_vectors(5, 4), random_vectors(50, 4), 3, NONE, "cosine", told.append, blocks=each)
        assert sum(told) == 5 * 50


def test_reduced_precision_that_the_caller_has_set_is_neither_used_nor_lost() -> None:
    queries, index = random_vectors(5, 16), random_vectors(300, 16, seed=1)
    expected, before = search(queries, index, 6, NONE), torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert_same_bits(search(queries.clone(), index, 6, NONE), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_vectors_on_disk_have_the_neighbours_of_the_tensor(tmp_path) -> None:
    queries, index = random_vectors(6, 8), random_vectors(90, 8, seed=1).half()
    expected = search(queries, index.float(), 7, np.array([(2, 3)]))
    np.save(tmp_path / "index.npy", index.numpy())
    memory_map = np.load(tmp_path / "index.npy", mmap_mode="r")
    with h5py.File(tmp_path / "index.h5", "w") as file:
        dataset = file.create_dataset("features", data=index.numpy()[::-1], chunks=(16, 8))
        for each in BLOCKS:
            for vectors in (Vectors(memory_map), Vectors(dataset, np.arange(90)[::-1])):
                assert_same_bits(search(Vectors(queries), vectors, 7, np.array([(2, 3)]), blocks=each), expected)


def test_the_input_is_left_as_it_was() -> None:
    for distance in DISTANCES:
        queries, index = random_vectors(4, 8).double() * 3, random_vectors(9, 8, seed=1).double() * 5
        before = queries.clone(), index.clone()
        search(queries, index, 3, np.array([(0, 0)]), distance)
        assert torch.equal(queries, before[0])
        assert torch.equal(index, before[1])


@pytest.mark.cuda
@pytest.mark.parametrize("k", [1, 6, 101, 1000])
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_gpu_finds_the_same_bits(distance: Distance, k: int, cuda: torch.device) -> None:
    queries, index = random_vectors(100, 64), random_vectors(20_000, 64, seed=1)
    index[10_000:11_000] = index[0].clone()
    pairs = np.array([(3, 5), (4, 7)])
    expected = search(queries, index, k, pairs, distance)
    for some in (queries, queries[:5]):
        for there in (index, index.to(cuda)):
            found = search(some.to(cuda), there, k, pairs, distance)
            assert_same_bits(found, Neighbours(*(each[: len(some)] for each in (expected.rows, expected.similarities))))
