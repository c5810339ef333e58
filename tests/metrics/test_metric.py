import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.metrics import METRIC_KINDS, MetricAtK, metrics_of, parse_metric, require_official
from probe.metrics.definitions import average_precision
from tests.conftest import examples
from tests.metrics import plain
from tests.metrics.plain import at


def hits_at(*ranks: int, depth: int = 5) -> np.ndarray:
    """(1, depth) hits at these ranks, counted from 1."""
    return np.array([[rank in ranks for rank in range(1, depth + 1)]])


def recall_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    return parse_metric(f"R@{k}").values(hits, n)


def mmp_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    return parse_metric(f"mMP@{k}").values(hits, n)


def map_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    return parse_metric(f"mAP@{k}").values(hits, n)


def mmp(hits: np.ndarray, n: int) -> float:
    return float(mmp_at_k(hits, np.array([n]), 5)[0])


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


FORMS = METRIC_KINDS.forms


@pytest.mark.parametrize("form", FORMS)
def test_each_metric_has_a_plain_reference(form: str) -> None:
    assert form in plain.CLEAN, f"write {form} in plain loops in tests/metrics/plain.py"
    has_official = METRIC_KINDS.kinds[form].has_official
    assert has_official == (form in plain.OFFICIAL), f"write {form}'s official rule in tests/metrics/plain.py"


@pytest.mark.parametrize("form", FORMS)
@examples(30, 400)
@given(st.lists(st.booleans(), max_size=12), st.integers(0, 12), st.integers(1, 14))
def test_each_metric_equals_its_plain_reference_between_0_and_1(form: str, hits: list[bool], more: int, k: int) -> None:
    n = sum(hits) + more
    value = parse_metric(at(form, k)).values(np.array([hits], bool), np.array([n])).item()
    assert value == pytest.approx(plain.value_of(at(form, k), hits, n), abs=1e-15, nan_ok=True)
    assert np.isnan(value) if n == 0 else 0 <= value <= 1


@pytest.mark.parametrize("form", FORMS)
@examples(15, 300)
@given(st.integers(0, 2**32 - 1), st.integers(1, 14))
def test_each_metric_looks_at_no_more_results_than_its_depth_and_at_each_query_alone(
    form: str, seed: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    hits = rng.random((rng.integers(1, 9), 12)) < rng.random()
    n, metric = hits.sum(axis=1) + rng.integers(0, 2, len(hits)), parse_metric(at(form, k))
    whole = metric.values(hits, n)
    np.testing.assert_array_equal(metric.values(hits[:, : metric.depth(int(n.max()))], n), whole)
    alone = [metric.values(hits[i : i + 1], n[i : i + 1]).item() for i in range(len(hits))]
    np.testing.assert_array_equal(alone, whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_read_as_it_is_written_by_one_metric_only(form: str) -> None:
    for k in (1, 10, 999_999_999):
        metric = parse_metric(at(form, k))
        assert metric.name == at(form, k)
        assert isinstance(metric, MetricAtK) == form.endswith("@k")
        assert sum(kind.parse(metric.name) is not None for kind in METRIC_KINDS) == 1


def test_the_metrics_among_columns_are_those_that_the_registry_knows() -> None:
    names = [at(form, 7) for form in FORMS]
    assert metrics_of(["image", "source", "n", "user@example", "R@", *names, "hits"]) == names


def test_an_official_value_of_a_metric_without_one_is_refused_with_those_that_have_one() -> None:
    require_official(["mMP@5", "R@3", "mAP@100"])
    with pytest.raises(UsageError, match=r"^the official protocol has no MRR@10; it has mAP@k, mMP@k, R@k\.$"):
        require_official(["mMP@5", "MRR@10"])


@pytest.mark.parametrize(
    ("name", "ranks", "n", "expected"),
    [
        ("MRR@10", (3, 5), 9, 1 / 3),
        ("MRR@2", (3,), 9, 0.0),
        ("R-precision", (1, 3, 4), 3, 2 / 3),
        ("R-precision", (1, 2), 4, 1 / 2),
        ("mAP@R", (1, 3, 4), 3, (1 + 2 / 3) / 3),
        ("mAP@R", (1, 2), 2, 1.0),
        ("mAP@R", (5,), 4, 0.0),
    ],
)
def test_values_of_the_papers_beside_uned(name: str, ranks: tuple[int, ...], n: int, expected: float) -> None:
    assert parse_metric(name).values(hits_at(*ranks), np.array([n])).item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["mMP", "mmp@5", "R@0", "R@01", "mAP@-1", "P@5", "mMP@5 ", ""])
def test_what_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no metric"):
        parse_metric(name)


def test_values_do_not_depend_on_the_blocks_they_are_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, n = np.random.default_rng(0).random((23, 9)) < 0.4, np.arange(23)
    whole = map_at_k(hits, n, 7)
    monkeypatch.setattr(average_precision, "BLOCK", 5)
    np.testing.assert_array_equal(map_at_k(hits, n, 7), whole)


def test_a_query_with_nothing_to_find_has_no_value() -> None:
    hits, n = np.zeros((2, 5), bool), np.array([0, 3])
    assert np.isnan(mmp_at_k(hits, n, 5)).tolist() == [True, False]
    assert np.isnan(recall_at_k(hits, n, 1)).tolist() == [True, False]


@examples(100, 1000)
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
