"""Intervals and p: against plain loops, closed forms and full enumeration; joined by query, never by position."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.metrics import uncertainty
from probe.metrics.uncertainty import (
    QueryValues,
    assembled,
    averaged,
    compare,
    intervals,
    pairwise_p,
    permutation_p,
    value_intervals,
)
from tests.conftest import examples

GRID = np.array([0, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.75, 0.8, 1])


def frame(by_domain: Mapping[str, Sequence[float] | np.ndarray], metric: str = "mMP@5") -> pl.DataFrame:
    """Per-query values as an evaluation leaves them; NaN is a query that has nothing to find."""
    rows = [
        (f"{domain}/{i:05d}.jpg", "photos", domain, f"class{i // 2}", 0 if math.isnan(value) else 3, float(value))
        for domain, values in by_domain.items()
        for i, value in enumerate(values)
    ]
    return pl.DataFrame(rows, ["image", "source", "domain", "label", "n", metric], orient="row")


def scores(by_domain: Mapping[str, Sequence[float] | np.ndarray], name: str = "a") -> QueryValues:
    return QueryValues.of(name, frame(by_domain), "mMP@5")


def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.choice(GRID, count, p=np.arange(1, 12) / 66)


def test_the_interval_is_that_of_a_bootstrap_in_plain_loops() -> None:
    rng = np.random.default_rng(0)
    by_domain = {"birds": drawn(rng, 30), "cars": drawn(rng, 12), "food": drawn(rng, 50)}
    draws: dict[str, list[float]] = {name: [] for name in [*by_domain, "Mean"]}
    for _ in range(1500):
        means = []
        for domain, values in by_domain.items():
            means.append(sum(values[rng.integers(len(values))] for _ in values) / len(values))
            draws[domain].append(means[-1])
        draws["Mean"].append(sum(means) / 3)
    found = intervals(frame(by_domain), "mMP@5")
    assert found.keys() == draws.keys()
    for name, values in draws.items():
        spread = float(np.std(values))
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.25 * spread)


def test_with_many_queries_it_is_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    hits = (rng.random(5000) < 0.8).astype(float)
    graded = rng.beta(2, 1, 5000)
    for values in (hits, graded):
        low, high = intervals(frame({"birds": values}), "mMP@5")["birds"]
        error = values.std() / math.sqrt(len(values))
        assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
        assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_balanced_means_interval_counts_each_domain_once() -> None:
    rng = np.random.default_rng(2)
    by_domain = {"few": drawn(rng, 100), "many": drawn(rng, 4000)}
    low, high = intervals(frame(by_domain), "mMP@5")["Mean"]
    error = math.sqrt(sum(values.var() / len(values) for values in by_domain.values())) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert (high + low) / 2 == pytest.approx(np.mean([v.mean() for v in by_domain.values()]), abs=0.1 * error)


@pytest.mark.slow
def test_it_covers_the_true_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    true = float(GRID @ np.arange(1, 12) / 66)
    covered = 0
    for _ in range(200):
        low, high = value_intervals(scores({"a": drawn(rng, 80), "b": drawn(rng, 80)}), draws=500)["Mean"]
        covered += low <= true <= high
    assert 180 <= covered <= 198


def test_grouped_values_keep_mean_and_variance_and_resample_alike() -> None:
    rng = np.random.default_rng(4)
    values = rng.beta(0.3, 0.2, 3000)
    grouped, sizes = uncertainty._grouped(*np.unique(values, return_counts=True))
    assert len(grouped) <= uncertainty.DISTINCT
    assert sizes.sum() == 3000
    mean = np.average(grouped, weights=sizes)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    assert np.average((grouped - mean) ** 2, weights=sizes) == pytest.approx(values.var(), rel=1e-12)
    fast = uncertainty._resampled_means(values, 4000, rng)
    plain = np.array([rng.choice(values, 3000).mean() for _ in range(1000)])
    error = values.std() / math.sqrt(3000)
    assert fast.mean() == pytest.approx(plain.mean(), abs=0.15 * error)
    assert fast.std() == pytest.approx(plain.std(), rel=0.1)


@given(st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.2, 0.6]), min_size=2, max_size=9))
@examples(25, 250)
def test_p_is_that_of_all_sign_flips(differences: list[float]) -> None:
    half = max(1, len(differences) // 3)
    by_domain = {"a": np.array(differences[:half]), "b": np.array(differences[half:])}
    statistics = []
    for signs in itertools.product((-1, 1), repeat=len(differences)):
        flipped = np.array(signs) * differences
        statistics.append(abs(flipped[:half].mean() + flipped[half:].mean()) / 2)
    observed = abs(by_domain["a"].mean() + by_domain["b"].mean()) / 2
    exact = np.mean(np.array(statistics) >= observed - 1e-12)
    queries = scores({domain: np.ones(len(values)) for domain, values in by_domain.items()})
    found = permutation_p(queries, np.array(differences)[:, None], 10_000, np.random.default_rng(0))["Mean"][0]
    assert found == pytest.approx(exact, abs=0.025)


def test_p_is_uniform_where_runs_do_not_differ() -> None:
    rng = np.random.default_rng(5)
    size = 60
    queries = scores({"a": np.ones(size), "b": np.ones(size)})
    differences = rng.normal(size=(2 * size, 400)) * rng.exponential(size=(2 * size, 1))
    p = np.sort(permutation_p(queries, differences, 1000, rng)["Mean"])
    assert np.abs(p - (np.arange(400) + 0.5) / 400).max() < 1.95 / math.sqrt(400)  # Kolmogorov-Smirnov, 0.1 %


def test_p_of_any_two_of_many_runs_is_that_of_their_differences_alone() -> None:
    """The signs are drawn for queries on which any run differs, so those of two runs alone are others."""
    rng = np.random.default_rng(5)
    first = scores({"birds": drawn(rng, 50), "cars": drawn(rng, 40)})
    differences = rng.choice([0, 0, 0, 0.2, -0.1], (90, 4), p=[0.2, 0.2, 0.2, 0.25, 0.15])
    differences[:, 3] = differences[:, 2] + 1e-17  # but for rounding, the same run
    found = pairwise_p(first, differences, 4000, np.random.default_rng(0))
    assert found.shape == (5, 5)
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()
    assert found[3, 4] == 1
    with_first = permutation_p(first, differences, 4000, np.random.default_rng(0))["Mean"]
    np.testing.assert_array_equal(found[0, 1:], with_first)
    runs = np.concatenate((np.zeros((90, 1)), differences), axis=1)
    for i, j in itertools.combinations(range(4), 2):
        alone = permutation_p(first, (runs[:, i] - runs[:, j])[:, None], 4000, np.random.default_rng(1))["Mean"][0]
        assert found[i, j] == pytest.approx(alone, abs=5 * math.sqrt(0.5 / 4000))


def test_flips_in_blocks_have_the_moments_of_independent_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "BITS", 100)
    differences = np.random.default_rng(6).normal(size=(13, 2))
    sums = uncertainty._flipped_sums(differences, 9001, np.random.default_rng(0))
    error = np.sqrt((differences**2).sum(axis=0))
    assert np.abs(sums.mean(axis=0)).max() < 0.05 * error.max()
    assert sums.std(axis=0) == pytest.approx(error, rel=0.04)


def test_a_run_compared_with_itself_differs_by_nothing() -> None:
    one = scores({"birds": [0.2, 1, 0.5], "cars": [1, 1, 0]})
    for found in compare(one, one).values():
        assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)


def test_a_better_run_is_told_from_a_worse_one() -> None:
    rng = np.random.default_rng(7)
    worse = {"birds": drawn(rng, 200), "cars": drawn(rng, 200)}
    better = {"birds": np.maximum(worse["birds"], drawn(rng, 200)), "cars": worse["cars"]}
    found = compare(scores(better), scores(worse, "b"))
    assert found["birds"].p == found["Mean"].p == 1 / 10_001
    assert found["birds"].interval[0] > 0
    assert found["cars"].p == 1
    assert found["Mean"].difference == pytest.approx(found["birds"].difference / 2)
    assert found["birds"].first - found["birds"].second == found["birds"].difference
    back = compare(scores(worse), scores(better, "b"))["Mean"]
    assert (back.difference, back.p) == (-found["Mean"].difference, found["Mean"].p)


@given(st.randoms(use_true_random=False))
@examples(15, 150)
def test_the_order_of_queries_changes_no_bit(random) -> None:
    rng = np.random.default_rng(8)
    by_domain = {"birds": drawn(rng, 21), "cars": rng.random(150)}
    one, other = frame(by_domain), frame({domain: rng.permutation(values) for domain, values in by_domain.items()})
    order = list(range(len(one)))
    random.shuffle(order)
    found = compare(QueryValues.of("a", one, "mMP@5"), QueryValues.of("b", other[order], "mMP@5"), draws=300)
    assert found == compare(QueryValues.of("a", one[order], "mMP@5"), QueryValues.of("b", other, "mMP@5"), draws=300)
    assert intervals(one[order], "mMP@5", 300) == intervals(one, "mMP@5", 300)


def test_seeds_are_averaged_query_by_query() -> None:
    rng = np.random.default_rng(9)
    seeds = [scores({"birds": drawn(rng, 40), "cars": drawn(rng, 9)}) for _ in range(3)]
    mean = averaged(seeds)
    assert mean.values == pytest.approx(sum(seed.values for seed in seeds) / 3)
    assert mean.means()["Mean"] == pytest.approx(np.mean([seed.means()["Mean"] for seed in seeds]))


def test_specialists_are_one_run_each_for_its_own_domain() -> None:
    birds, cars = scores({"birds": [1, 0.5], "cars": [0, 0]}), scores({"birds": [0, 0], "cars": [0.2, 0.6]})
    assert assembled({"birds": birds, "cars": cars}).means() == pytest.approx(
        {"Mean": 0.575, "birds": 0.75, "cars": 0.4}
    )


def test_queries_with_nothing_to_find_change_nothing() -> None:
    nan = math.nan
    one, other = {"birds": [0.2, 1, 0.5], "cars": [1, 0.5]}, {"birds": [0.4, 1, 0.2], "cars": [0.5, 0.5]}
    more = [{"birds": [*run["birds"], nan, nan], "cars": run["cars"], "sky": [nan]} for run in (one, other)]
    assert compare(scores(more[0]), scores(more[1])) == compare(scores(one), scores(other))
    with pytest.raises(UsageError, match="no query has anything to find"):
        intervals(frame({"sky": [nan]}), "mMP@5")


def test_an_image_that_asks_under_two_labels_is_two_queries() -> None:
    rows = frame({"birds": [0.2, 0.9]}).with_columns(image=pl.lit("same.jpg"), label=pl.Series(["a", "b"]))
    assert QueryValues.of("a", rows, "mMP@5").means()["birds"] == pytest.approx(0.55)
    listed = rows.with_columns(label=pl.Series([["a", "c"], ["c", "b"]]))
    turned = rows.with_columns(label=pl.Series([["c", "a"], ["b", "c"]]))
    assert compare(QueryValues.of("a", listed, "mMP@5"), QueryValues.of("b", turned, "mMP@5"))["Mean"].difference == 0


def test_different_queries_are_an_error_with_their_count_and_the_first_five() -> None:
    whole, part = frame({"birds": np.ones(30)}), frame({"birds": np.ones(22)})
    with pytest.raises(UsageError) as raised:
        compare(QueryValues.of("whole", whole, "mMP@5"), QueryValues.of("part", part, "mMP@5"))
    text = str(raised.value)
    assert "8 of 30 queries of whole are not in part" in text
    assert text.count(".jpg") == 5
    assert "photos/birds/00022.jpg (birds: class11)" in text
    with pytest.raises(UsageError, match="8 of 30 queries of whole are not in part"):
        averaged([QueryValues.of("part", part, "mMP@5"), QueryValues.of("whole", whole, "mMP@5")])


def test_another_index_is_an_error() -> None:
    one = frame({"birds": np.ones(4)})
    other = one.with_columns(n=pl.Series([3, 3, 7, 3]))
    with pytest.raises(UsageError, match=r"1 queries have another number of images to find in a than in b \(photos/bi"):
        compare(QueryValues.of("a", one, "mMP@5"), QueryValues.of("b", other, "mMP@5"))


def test_a_query_that_is_there_twice_is_an_error() -> None:
    rows = frame({"birds": np.ones(4)})
    with pytest.raises(UsageError, match="a has 2 queries more than once"):
        QueryValues.of("a", pl.concat([rows, rows[:2]]), "mMP@5")


def test_an_unknown_metric_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"a has no values of 'mMP@50'; did you mean 'mMP@5'\?"):
        QueryValues.of("a", frame({"birds": [1]}), "mMP@50")
