import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.metrics import metric as metrics
from probe.metrics.metric import class_numbers, map_at_k, mmp_at_k, parse_metric, recall_at_k, relevant_counts
from tests.conftest import examples


def hits_at(*ranks: int, depth: int = 5) -> np.ndarray:
    """(1, depth) hits at these ranks, counted from 1."""
    return np.array([[rank in ranks for rank in range(1, depth + 1)]])


def relevant_hits(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Of index rows."""
    of_query, of_row = class_numbers(queries, index)
    return metrics.relevant_hits(of_query, of_row[:, None], rows)


def mmp(hits: np.ndarray, n: int) -> float:
    return float(mmp_at_k(hits, np.array([n]), 5)[0])


def images(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Rows of image, label, domain; all of one source."""
    frame = pl.DataFrame(rows, ["image", "label", "domain"], orient="row")
    return frame.with_columns(source=pl.lit("photos"))


def test_n_of_two_with_hits_at_ranks_four_and_five_scores_zero() -> None:
    assert mmp(hits_at(4, 5), n=2) == 0


@pytest.mark.parametrize(
    ("ranks", "n", "expected"),
    [
        ((1,), 1, 1.0),
        ((2,), 1, 0.0),
        ((1, 3), 2, 1 / 2),
        ((1, 2, 5), 3, 2 / 3),
        ((1, 2, 3, 4), 4, 1.0),
        ((2, 5), 5, 2 / 5),
        ((1, 2, 3, 4, 5), 5, 1.0),
        ((1, 2, 3), 6, 3 / 5),
        ((1, 2, 3, 4, 5), 1000, 1.0),
        ((), 3, 0.0),
    ],
)
def test_mmp_counts_and_divides_by_the_smaller_of_n_and_five(ranks: tuple[int, ...], n: int, expected: float) -> None:
    assert mmp(hits_at(*ranks), n) == pytest.approx(expected, abs=1e-15)


def test_mmp_of_a_list_shorter_than_five_still_divides_by_n() -> None:
    assert mmp(hits_at(1, 2, depth=3), n=4) == 1 / 2


def test_mmp_of_a_longer_list_looks_at_five() -> None:
    assert mmp(hits_at(5, 6, 7, depth=100), n=9) == 1 / 5


def test_recall_at_1_is_the_first_rank_whatever_n() -> None:
    assert recall_at_k(hits_at(1, 3), np.array([5]), 1).tolist() == [1.0]
    assert recall_at_k(hits_at(2, 3), np.array([5]), 1).tolist() == [0.0]


def test_recall_at_k_is_any_of_the_first_k() -> None:
    n = np.array([5])
    assert [recall_at_k(hits_at(3), n, k).item() for k in (1, 2, 3, 50)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("ranks", "n", "k", "expected"),
    [
        ((1,), 1, 100, 1.0),
        ((2,), 1, 100, 1 / 2),
        ((4, 5), 2, 5, (1 / 4 + 2 / 5) / 2),  # the sum goes on past n
        ((1, 3), 9, 5, (1 + 2 / 3) / 5),
        ((1, 5), 9, 4, 1 / 4),
        ((), 3, 5, 0.0),
    ],
)
def test_map_sums_the_precision_at_each_hit(ranks: tuple[int, ...], n: int, k: int, expected: float) -> None:
    assert map_at_k(hits_at(*ranks), np.array([n]), k).item() == pytest.approx(expected, abs=1e-15)


@examples(100, 1000)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 12), st.integers(1, 12))
def test_a_metric_by_name_lies_between_0_and_1(hits: list[bool], more: int, k: int) -> None:
    for kind in ("mMP", "R", "mAP"):
        value = parse_metric(f"{kind}@{k}").values(np.array([hits]), np.array([sum(hits) + more])).item()
        assert np.isnan(value) if sum(hits) + more == 0 else 0 <= value <= 1


@pytest.mark.parametrize("name", ["mMP", "mmp@5", "R@0", "R@01", "mAP@-1", "P@5", "mMP@5 ", ""])
def test_what_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no metric"):
        parse_metric(name)


def test_values_do_not_depend_on_the_blocks_they_are_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, n = np.random.default_rng(0).random((23, 9)) < 0.4, np.arange(23)
    whole = map_at_k(hits, n, 7)
    monkeypatch.setattr(metrics, "BLOCK", 5)
    np.testing.assert_array_equal(map_at_k(hits, n, 7), whole)


def test_a_query_with_nothing_to_find_has_no_value() -> None:
    hits, n = np.zeros((2, 5), bool), np.array([0, 3])
    assert np.isnan(mmp_at_k(hits, n, 5)).tolist() == [True, False]
    assert np.isnan(recall_at_k(hits, n, 1)).tolist() == [True, False]


@examples(100, 3000)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 12), st.integers(1, 7))
def test_mmp_equals_the_papers_sum(hits: list[bool], n: int, k: int) -> None:
    n = max(n, sum(hits))
    found = mmp_at_k(np.array([hits]), np.array([n]), k)[0]
    if n == 0:
        assert np.isnan(found)
        return
    total = 0.0
    for j in range(1, min(n, k) + 1):
        total += hits[j - 1] if j <= len(hits) else 0
    assert found == total / min(n, k)
    assert 0 <= found <= 1


def test_n_leaves_out_the_query_itself() -> None:
    frame = images(("a", "x", "cars"), ("b", "x", "cars"), ("c", "x", "cars"), ("d", "y", "cars"))
    assert relevant_counts(frame, frame).tolist() == [2, 2, 2, 0]


def test_n_of_a_query_that_is_not_in_the_index_counts_all_of_its_class() -> None:
    index = images(("a", "x", "cars"), ("b", "x", "cars"))
    assert relevant_counts(images(("q", "x", "cars"), ("r", "z", "cars")), index).tolist() == [2, 0]


def test_n_is_counted_in_the_querys_domain() -> None:
    index = images(("a", "1", "cars"), ("b", "1", "food"), ("c", "1", "food"))
    assert relevant_counts(images(("q", "1", "cars"), ("r", "1", "food")), index).tolist() == [1, 2]


def test_n_tells_images_of_the_same_name_in_two_sources_apart() -> None:
    index = images(("a", "x", "cars"), ("b", "x", "cars"))
    queries = images(("a", "x", "cars")).with_columns(source=pl.lit("elsewhere"))
    assert relevant_counts(queries, index).tolist() == [2]


def test_n_of_an_image_under_two_labels_leaves_it_out_of_both() -> None:
    frame = images(("a", "x", "cars"), ("a", "y", "cars"), ("b", "x", "cars"), ("c", "y", "cars"), ("d", "y", "cars"))
    assert relevant_counts(frame, frame).tolist() == [1, 2, 1, 2, 2]


def test_a_query_under_one_label_that_lies_in_the_index_under_another_only_is_not_subtracted() -> None:
    index = images(("q", "y", "cars"), ("b", "x", "cars"), ("c", "x", "cars"))
    assert relevant_counts(images(("q", "x", "cars")), index).tolist() == [2]


def test_a_hit_needs_label_and_domain() -> None:
    index = images(("a", "1", "cars"), ("b", "1", "food"), ("c", "2", "cars"), ("d", "2", "food"))
    hits = relevant_hits(images(("q", "1", "cars"), ("r", "2", "food")), index, np.array([[0, 1, 2, 3]] * 2))
    assert hits.tolist() == [[True, False, False, False], [False, False, False, True]]


def test_no_neighbour_is_no_hit() -> None:
    index = images(("a", "1", "cars"))
    assert relevant_hits(images(("q", "1", "cars")), index, np.array([[0, -1, -1]])).tolist() == [[True, False, False]]


def test_names_are_compared_whole() -> None:
    index = images(("a", "1", "cars 1"), ("b", "11", "cars "), ("c", "", "cars 11"))
    assert relevant_hits(images(("q", "11", "cars ")), index, np.array([[0, 1, 2]])).tolist() == [[False, True, False]]


Labelled = tuple[str, list[str], str]


def labelled(rows: list[Labelled]) -> pl.DataFrame:
    """Rows of image, labels, domain; all of one source."""
    frame = pl.DataFrame(rows, {"image": pl.String, "label": pl.List(pl.String), "domain": pl.String}, orient="row")
    return frame.with_columns(source=pl.lit("photos"))


def test_any_label_of_a_query_counts_and_an_image_under_two_of_them_once() -> None:
    index = images(("a", "x", "l"), ("a", "y", "l"), ("b", "y", "l"), ("c", "z", "l"), ("q", "x", "l"), ("d", "x", "m"))
    queries = labelled([("q", ["x", "y"], "l"), ("r", ["z"], "l"), ("s", ["w", "v"], "l"), ("t", ["w", "x"], "m")])
    assert relevant_counts(queries, index).tolist() == [2, 1, 0, 1]
    hits = relevant_hits(queries, index, np.array([[0, 1, 2, 3, 5]] * 4))
    assert hits.astype(int).tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]


def test_lists_of_one_label_count_as_that_label() -> None:
    index = images(("a", "x", "l"), ("b", "y", "l"), ("q", "x", "l"))
    queries = labelled([("q", ["x"], "l"), ("r", ["y"], "l")])
    plain = queries.with_columns(pl.col("label").list.first())
    rows = np.array([[0, 1, 2], [1, 0, -1]])
    assert relevant_counts(queries, index).tolist() == relevant_counts(plain, index).tolist() == [1, 1]
    assert (relevant_hits(queries, index, rows) == relevant_hits(plain, index, rows)).all()


def some_labels(least: int, most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(["1", "11", "2", "3"]), min_size=least, max_size=most, unique=True)


def some_rows(most_labels: int) -> st.SearchStrategy[list[Labelled]]:
    image, domain = st.sampled_from("abcdefgh"), st.sampled_from(["l", "m"])
    return st.lists(st.tuples(image, some_labels(1, most_labels), domain), min_size=1, max_size=25)


@examples(40, 1000)
@given(some_rows(3), some_rows(1), st.integers(0, 2**32 - 1))
def test_counts_and_hits_of_several_labels_equal_the_definition_in_plain_loops(
    queries: list[Labelled], index: list[Labelled], seed: int
) -> None:
    unique = {(image, *labels, domain): (image, labels, domain) for image, labels, domain in index}
    index = list(unique.values())  # as a manifest has them: no image twice under a label
    index_frame = labelled(index).with_columns(pl.col("label").list.first())
    rows = np.random.default_rng(seed).integers(-1, len(index), (len(queries), 4))
    counts = [
        len({other for other, found, there in index if there == domain and set(found) & set(labels) and other != image})
        for image, labels, domain in queries
    ]
    hits = [
        [row >= 0 and index[row][2] == domain and bool(set(index[row][1]) & set(labels)) for row in found]
        for (_, labels, domain), found in zip(queries, rows, strict=True)
    ]
    assert relevant_counts(labelled(queries), index_frame).tolist() == counts
    assert relevant_hits(labelled(queries), index_frame, rows).tolist() == hits
