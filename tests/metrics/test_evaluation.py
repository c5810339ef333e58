from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from probe.data.labels import plainest
from probe.data.manifest import Manifest
from probe.errors import UsageError
from probe.metrics import (
    INDEXES,
    METRIC_KINDS,
    METRICS,
    DomainScores,
    Evaluation,
    balanced_mean,
    evaluate,
    parse_metric,
)
from probe.search import Distance
from tests.conftest import examples
from tests.metrics.plain import Problem, at, clean, clean_summary, published

Row = tuple[str, str, str, str]


def benchmark(rows: list[Row]) -> pl.DataFrame:
    """Rows of image, label, domain, role as a validated manifest's test split; one source a domain."""
    frame = pl.DataFrame(rows, ["image", "label", "domain", "role"], orient="row")
    frame = frame.with_columns(source=pl.col("domain") + "-photos", split=pl.lit("test"))
    return Manifest(frame).split("test")


def angles(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane: the nearer the angles, the more similar."""
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([radians.cos(), radians.sin()], dim=1).float()


def value(evaluation: Evaluation, metric: str, image: str, label: str | None = None) -> float | None:
    """One query's value."""
    rows = evaluation.per_query["merged"].filter(pl.col("image") == image)
    rows = rows.filter(pl.col("label") == label) if label else rows
    return rows[metric].item()


def test_n_of_two_with_hits_at_ranks_four_and_five_scores_zero() -> None:
    rows = [("q", "x", "cars", "query"), ("a", "x", "cars", "index"), ("b", "x", "cars", "index")]
    rows += [(f"wrong{i}", "y", "cars", "index") for i in range(3)]
    evaluation = evaluate(benchmark(rows), angles(0, 40, 50, 10, 20, 30))
    assert evaluation.per_query["merged"]["hits"].to_list() == [[False, False, False, True, True]]
    assert value(evaluation, "mMP@5", "q") == 0
    assert value(evaluation, "R@1", "q") == 0


@pytest.mark.parametrize("protocol", ["clean", "official"])
def test_a_k_far_past_the_index_costs_no_more_than_the_index(protocol: str) -> None:
    rows = [(str(i), "xy"[i % 2], "cars", "both") for i in range(5)] + [("q", "z", "pets", "query")]
    kinds = ("mMP", "R", "mAP")
    found = evaluate(
        benchmark(rows),
        angles(0, 10, 30, 60, 100, 5),
        metrics=[f"{kind}@{k}" for kind in kinds for k in (7, 999_999_999)],  # (Q, k) would be past all memory
        neighbours=1_000_000_000,
    )
    for index in INDEXES:
        mean = found.scores.of(protocol, index).mean
        assert [mean[f"{kind}@7"] for kind in kinds] == [mean[f"{kind}@999999999"] for kind in kinds]
    assert found.per_query["merged"]["neighbours"].list.len().to_list() == [4] * 5 + [5]
    assert found.per_query["separate"]["neighbours"].list.len().to_list() == [4] * 5 + [0]


def test_a_query_in_its_own_index_does_not_find_itself() -> None:
    rows = [("q", "x", "cars", "both"), ("a", "x", "cars", "both"), ("b", "y", "cars", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 30, 10))
    assert evaluation.per_query["merged"].filter(pl.col("image") == "q")["neighbours"].item().to_list() == ["b", "a"]
    assert value(evaluation, "n", "q") == 1
    assert value(evaluation, "R@1", "q") == 0


def test_the_same_image_under_two_labels_does_not_find_itself_under_the_other() -> None:
    rows = [("q", "x", "cars", "both"), ("q", "y", "cars", "both"), ("a", "x", "cars", "both")]
    rows += [("b", "y", "cars", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 0, 20, 30))
    of_image = evaluation.per_query["merged"].filter(pl.col("image") == "q")
    assert of_image["neighbours"].to_list() == [["a", "b"], ["a", "b"]]
    assert of_image["n"].to_list() == [1, 1]
    assert value(evaluation, "mMP@5", "q", "x") == 1
    assert value(evaluation, "mMP@5", "q", "y") == 0


def test_equal_vectors_of_a_wrong_class_in_front_of_the_query_cost_their_ranks_and_no_more() -> None:
    rows = [(f"wrong{i}", "y", "cars", "index") for i in range(2)]
    rows += [("q", "x", "cars", "both"), ("a", "x", "cars", "index"), ("b", "x", "cars", "index")]
    rows += [("c", "x", "cars", "index")]
    evaluation = evaluate(benchmark(rows), angles(0, 0, 0, 10, 20, 30))
    assert evaluation.per_query["merged"]["neighbours"].to_list() == [["wrong0", "wrong1", "a", "b", "c"]]
    assert value(evaluation, "mMP@5", "q") == pytest.approx(1 / 3)
    assert value(evaluation, "R@1", "q") == 0


def test_an_exact_duplicate_of_the_query_is_a_hit_when_it_has_its_label() -> None:
    rows = [("copy", "x", "cars", "both"), ("q", "x", "cars", "both"), ("a", "y", "cars", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 0, 5))
    assert value(evaluation, "R@1", "q") == 1


def test_the_official_protocol_drops_whatever_is_first() -> None:
    rows = [("wrong", "y", "cars", "both"), ("q", "x", "cars", "both"), ("a", "x", "cars", "both")]
    scores = evaluate(benchmark(rows), angles(0, 0, 10)).scores
    # q, clean: wrong, a. Published: wrong is dropped, q finds itself, and counts itself and a: of n = 1, two.
    assert scores.of("clean", "merged").mean == {"mMP@5": 0, "R@1": 0, "mAP@100": 0.5}
    assert scores.of("official", "merged").mean == {"mMP@5": 0, "R@1": 0.5, "mAP@100": 1.25}
    assert scores.of("official", "merged").domains["cars"].nothing_to_find == 1


def test_the_official_mmp_is_negative_where_the_query_is_not_among_the_first() -> None:
    rows = [("wrong0", "y", "cars", "both"), ("wrong1", "z", "cars", "both"), ("q", "x", "cars", "both")]
    rows += [("a", "x", "cars", "both")]
    official = evaluate(benchmark(rows), angles(0, 0, 0, 90)).scores.of("official", "merged")
    assert official.mean["mMP@5"] == -0.5  # q: -1 of 1; a: 0 of 1


def test_the_official_protocol_drops_nothing_where_a_query_is_not_in_the_index() -> None:
    rows = [("q", "x", "cars", "both"), ("r", "x", "cars", "query"), ("a", "x", "cars", "index")]
    scores = evaluate(benchmark(rows), angles(0, 30, 10)).scores
    assert scores.of("clean", "merged").mean["R@1"] == 1
    assert scores.of("official", "merged").mean == {"mMP@5": 1, "R@1": 1, "mAP@100": 1}  # q finds itself, n = 2


def test_the_official_values_are_rounded_by_domain_and_again_in_the_mean() -> None:
    rows = [(f"c{i}", "x" if i < 2 else "y", "cars", "query") for i in range(3)] + [("a", "x", "cars", "index")]
    rows += [("b", "y", "cars", "index"), ("f", "x", "food", "query"), ("g", "x", "food", "index")]
    scores = evaluate(benchmark(rows), angles(0, 0, 0, 10, 20, 90, 90)).scores
    assert scores.of("clean", "merged").domains["cars"].values["R@1"] == pytest.approx(2 / 3)
    assert scores.of("official", "merged").domains["cars"].values["R@1"] == 0.667
    assert scores.of("official", "merged").mean["R@1"] == 0.834  # of 0.667 and 1: 0.8335, rounded to even


def official_mean(of_domains: dict[str, float]) -> float | None:
    scores = {name: DomainScores(values={"R@1": v}, queries=1, nothing_to_find=0) for name, v in of_domains.items()}
    return balanced_mean(scores, ["R@1"], "official")["R@1"]


def test_the_official_mean_rounds_as_numpys_does_in_the_order_of_the_published_list() -> None:
    published = ["food2k", "cars196", "sop", "inshop", "inat", "met", "gldv2", "rp2k"]
    tables = np.round(np.random.default_rng(0).random((1000, 8)), 3)
    expected = [float(np.round(np.mean(list(values)), 3)) for values in tables]
    of_domains = [dict(sorted(zip(published, values, strict=True))) for values in tables.tolist()]
    assert [official_mean(values) for values in of_domains] == expected
    by_name = [float(np.round(np.mean(list(values.values())), 3)) for values in of_domains]
    assert sum(a != b for a, b in zip(by_name, expected, strict=True)) > 5  # the order decides


def test_the_official_mean_of_other_domains_is_summed_in_the_order_of_their_names() -> None:
    values = np.round(np.random.default_rng(1).random((1000, 8)), 3).tolist()
    expected = [float(np.round(np.mean(row), 3)) for row in values]
    assert [official_mean(dict(reversed(list(zip("abcdefgh", row, strict=True))))) for row in values] == expected


def test_with_the_separate_index_a_query_meets_its_own_domain_only() -> None:
    rows = [("q", "1", "cars", "query"), ("a", "1", "food", "index"), ("b", "1", "cars", "index")]
    rows += [("r", "1", "art", "query")]
    evaluation = evaluate(benchmark(rows), angles(0, 10, 20, 0))
    assert evaluation.per_query["separate"]["neighbours"].to_list() == [["b"], []]
    assert evaluation.scores.of("clean", "separate").mean["R@1"] == 1
    assert evaluation.scores.of("clean", "merged").mean["R@1"] == 0
    assert evaluation.scores.of("clean", "separate").domains["art"].nothing_to_find == 1


def test_only_what_is_asked_for_is_scored_and_kept() -> None:
    rows = [("q", "x", "cars", "both"), ("a", "x", "cars", "both"), ("b", "y", "cars", "both")]
    found = evaluate(
        benchmark(rows), angles(0, 30, 10), metrics=["R@2"], indexes=["separate"], protocols=["official"], neighbours=0
    )
    assert found.scores.root.keys() == {"official"}
    assert found.scores.of("official", "separate").mean == {"R@2": 1}
    assert found.per_query["separate"]["neighbours"].to_list() == [[], [], []]
    assert found.per_query["separate"]["R@2"].to_list()[:2] == [1, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"indexes": ["merge"]}, "'merge' is no index; did you mean 'merged'"),
        ({"protocols": ["oficial"]}, "'oficial' is no protocol; did you mean 'official'"),
        ({"metrics": ["MAP@10"]}, "'MAP@10' is no metric; did you mean 'mAP@10'"),
        ({"metrics": ["R1"]}, "'R1' is no metric; did you mean 'R@1'"),
    ],
)
def test_what_is_not_known_is_refused_with_the_nearest_name(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(benchmark([("q", "x", "cars", "both"), ("a", "x", "cars", "both")]), angles(0, 1), **asked)


def test_the_depth_of_the_search_is_that_of_the_query_with_the_most_to_find() -> None:
    rows = [(f"{i:02}", "x" if i < 30 else "y", "cars", "both") for i in range(40)]
    embeddings = angles(*range(40))
    found = evaluate(benchmark(rows), embeddings, metrics=["R-precision", "mAP@R"], protocols=["clean"], neighbours=0)
    assert value(found, "R-precision", "00") == value(found, "mAP@R", "00") == 1  # the 29 others, rank by rank
    assert value(found, "R-precision", "39") == 1
    assert value(found, "R-precision", "29") == pytest.approx(19 / 29)  # 28 to 18, and 10 of the others between


def test_the_official_scores_lack_the_metrics_that_have_no_official_rule() -> None:
    rows = [("q", "x", "cars", "both"), ("a", "x", "cars", "both"), ("b", "y", "cars", "both")]
    scores = evaluate(benchmark(rows), angles(0, 30, 10), metrics=["mAP@R", "R@1", "MRR@10"]).scores
    assert list(scores.of("clean", "merged").mean) == ["mAP@R", "R@1", "MRR@10"]
    assert list(scores.of("official", "merged").mean) == ["R@1"]
    assert list(scores.of("official", "separate").domains["cars"].values) == ["R@1"]
    none = evaluate(benchmark(rows), angles(0, 30, 10), metrics=["mAP@R", "MRR@10"]).scores
    assert none.root.keys() == {"clean"}


def test_the_official_protocol_alone_refuses_a_metric_that_has_no_official_rule() -> None:
    rows = [("q", "x", "cars", "both"), ("a", "x", "cars", "both")]
    with pytest.raises(UsageError, match="the official protocol has no MRR@10; it has mAP@k, mMP@k, R@k"):
        evaluate(benchmark(rows), angles(0, 1), metrics=["R@1", "MRR@10"], protocols=["official"])


def test_a_result_of_the_querys_label_in_another_domain_is_no_hit_and_not_counted() -> None:
    rows = [("q", "1", "cars", "query"), ("a", "1", "food", "index"), ("b", "1", "cars", "index")]
    evaluation = evaluate(benchmark(rows), angles(0, 10, 20))
    assert value(evaluation, "n", "q") == 1
    assert evaluation.per_query["merged"]["hits"].to_list() == [[False, True]]
    assert value(evaluation, "mMP@5", "q") == 0


def test_images_of_the_same_name_in_two_sources_are_two_images() -> None:
    rows = [("0.jpg", "x", "cars", "both"), ("1.jpg", "x", "cars", "both"), ("0.jpg", "x", "food", "both")]
    rows += [("1.jpg", "x", "food", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 10, 1, 11))
    first = evaluation.per_query["merged"].row(0, named=True)
    assert first["neighbours"] == ["0.jpg", "1.jpg", "1.jpg"]
    assert first["hits"] == [False, True, False]


def test_queries_with_nothing_to_find_are_counted_and_left_out() -> None:
    rows = [("q", "x", "cars", "both"), ("a", "x", "cars", "both"), ("lonely", "y", "cars", "both")]
    rows += [("r", "x", "food", "query")]
    evaluation = evaluate(benchmark(rows), angles(0, 10, 40, 90))
    values = {"mMP@5": 1.0, "R@1": 1.0, "mAP@100": 1.0}
    assert evaluation.scores.of("clean", "merged").model_dump() == {
        "mean": values,
        "domains": {
            "cars": {**values, "queries": 2, "nothing_to_find": 1},
            "food": {**dict.fromkeys(values), "queries": 0, "nothing_to_find": 1},
        },
    }
    assert evaluation.per_query["merged"]["n"].to_list() == [1, 1, 0, 0]
    assert evaluation.per_query["merged"]["mMP@5"].is_nan().to_list() == [False, False, True, True]


def test_the_mean_weighs_domains_equally_and_queries_within_a_domain() -> None:
    rows = [(f"c{i}", "x", "cars", "both") for i in range(4)] + [("f0", "x", "food", "both")]
    rows += [("f1", "x", "food", "both"), ("f2", "y", "food", "both"), ("f3", "y", "food", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 1, 2, 3, 90, 110, 91, 120))
    assert evaluation.scores.of("clean", "merged").domains["cars"].values["R@1"] == 1
    assert evaluation.scores.of("clean", "merged").domains["food"].values["R@1"] == 0
    assert evaluation.scores.of("clean", "merged").mean["R@1"] == 0.5


def test_queries_and_index_of_separate_roles_are_kept_apart() -> None:
    rows = [("q", "x", "cars", "query"), ("r", "x", "cars", "query"), ("a", "x", "cars", "index")]
    rows += [("b", "y", "cars", "index")]
    evaluation = evaluate(benchmark(rows), angles(0, 1, 30, 20))
    assert evaluation.per_query["merged"]["image"].to_list() == ["q", "r"]
    assert evaluation.per_query["merged"]["neighbours"].to_list() == [["b", "a"], ["b", "a"]]
    assert evaluation.per_query["merged"]["n"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "x", "cars", "index")], "0 queries and 1 index images"),
        ([("q", "x", "cars", "query")], "1 queries and 0 index images"),
        ([("q", "x", "cars", "query"), ("a", "y", "cars", "index")], "none of the 1 queries has another image"),
        ([("q", "x", "cars", "both")], "none of the 1 queries has another image"),
    ],
)
def test_a_split_with_nothing_to_score_is_a_clear_error(rows: list[Row], message: str) -> None:
    with pytest.raises(UsageError, match=f"nothing to score: .*{message}"):
        evaluate(benchmark(rows), angles(*range(len(rows))))


ROLES = [("both",), ("query", "index"), ("query", "index", "both")]
LIST = list(dict.fromkeys([*METRICS, *(at(form, k) for form in METRIC_KINDS.forms for k in (3, 4, 7))]))
PUBLISHED = [metric for metric in LIST if parse_metric(metric).has_official]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A split whose images share a small pool of vectors, so that many tie; half the time with unit lengths."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = rng.standard_normal((draw(st.sampled_from([1, 3, 12, 30])), 6)).astype(np.float32)
    pool *= 2.0 ** rng.integers(-9, 9, (len(pool), 1)).astype(np.float32)  # of any length
    distance: Distance = draw(st.sampled_from(["cosine", "euclidean"]))
    similar = similarities_of(pool.astype(np.float64), distance)
    assume((np.diff(np.sort(similar, axis=1), axis=1) > 1e-8).all())
    domains = draw(st.sampled_from([["cars"], ["cars", "food"], ["cars", "food", "art"]]))
    classes, images = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 6, 20]))
    roles, several = draw(st.sampled_from(ROLES)), draw(st.booleans())
    one_source = draw(st.booleans())
    rows: list[tuple[str, str, list[str], str, str]] = []
    seen: set[tuple[str, str, str]] = set()
    for _ in range(rng.integers(2, 50)):
        domain, image, role = str(rng.choice(domains)), f"{rng.integers(images)}.jpg", str(rng.choice(roles))
        source, count = "photos" if one_source else domain, rng.integers(1, 4) if several and role == "query" else 1
        labels = [str(label) for label in rng.permutation(classes)[:count]]
        keys = {(source, image, label) for label in labels}
        if not keys & seen:  # a manifest has an image but once under a label
            rows.append((source, image, labels, domain, role))
            seen |= keys
    names = ["source", "image", "label", "domain", "role"]
    frame = pl.DataFrame(rows, names, orient="row").with_columns(plainest(pl.Series("label", [row[2] for row in rows])))
    vector_of = {key: int(rng.integers(len(pool))) for key in sorted(set(frame.select("source", "image").iter_rows()))}
    of_row = [vector_of[key] for key in frame.select("source", "image").iter_rows()]
    return Problem(frame, pool[of_row], similar, of_row, distance)


def similarities_of(vectors: np.ndarray, distance: Distance) -> np.ndarray:
    """(N, N): cosines, or minus the Euclidean distances."""
    if distance == "cosine":
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit @ unit.T
    return -np.linalg.norm(vectors[:, None] - vectors, axis=-1)


def requires_equal_to_the_definitions(problem: Problem) -> None:
    embeddings = torch.from_numpy(problem.vectors)
    expected = {name: clean(problem, LIST, name == "separate") for name in INDEXES}
    if not any(query["n"] for query in expected["merged"]):
        with pytest.raises(UsageError, match="nothing to score"):
            evaluate(problem.frame, embeddings, metrics=LIST, distance=problem.distance)
        return
    evaluation = evaluate(problem.frame, embeddings, metrics=LIST, distance=problem.distance)
    for name in INDEXES:
        for found, query in zip(evaluation.per_query[name].iter_rows(named=True), expected[name], strict=True):
            assert (found["domain"], found["n"]) == (query["domain"], query["n"])
            assert found["neighbours"] == query["neighbours"][:10]
            assert found["hits"] == query["hits"][:10]
            for metric in LIST:
                assert found[metric] == pytest.approx(query[metric], nan_ok=True)
                assert not found["n"] or 0 <= found[metric] <= 1
        assert_close(evaluation.scores.of("clean", name).model_dump(), clean_summary(expected[name], LIST))
        assert evaluation.scores.of("official", name).model_dump() == published(problem, PUBLISHED, name == "separate")


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["domains"].keys() == expected["domains"].keys()
    pairs = [(found["domains"][name], expected["domains"][name]) for name in expected["domains"]]
    for ours, plain in [(found["mean"], expected["mean"]), *pairs]:
        assert ours == pytest.approx(plain)


@examples(40, 100)
@given(problems())
def test_an_evaluation_equals_the_definitions_in_plain_loops(problem: Problem) -> None:
    requires_equal_to_the_definitions(problem)


@pytest.mark.slow
@examples(10, 40)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_queries_and_index_changes_nothing_where_nothing_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    roles = ["query", "index", "both"]
    rows = [
        (f"{i}", str(rng.integers(4)), str(rng.choice(["cars", "food"])), str(rng.choice(roles))) for i in range(40)
    ]
    frame, vectors = benchmark(rows), torch.from_numpy(rng.standard_normal((40, 5)).astype(np.float32))
    order = rng.permutation(40)
    before, after = evaluate(frame, vectors), evaluate(frame[order], vectors[torch.from_numpy(order)])
    for name in INDEXES:
        values, again = (each.per_query[name].drop("similarities").sort("image") for each in (before, after))
        assert values.equals(again)
        assert_close(after.scores.of("clean", name).model_dump(), before.scores.of("clean", name).model_dump())
        for metric, value in before.scores.of("official", name).mean.items():
            assert after.scores.of("official", name).mean[metric] == pytest.approx(value, abs=0.0011)  # rounding ties


Labelled = tuple[str, list[str], str, str]


def several_labels(rows: list[Labelled]) -> pl.DataFrame:
    """Rows of image, labels, domain, role; only queries have several labels."""
    frame = pl.DataFrame(rows, ["image", "label", "domain", "role"], orient="row")
    return Manifest(frame.with_columns(source=pl.lit("photos"), split=pl.lit("test"))).split("test")


def test_a_query_of_several_labels_finds_images_of_any() -> None:
    rows: list[Labelled] = [("q", ["x", "y"], "l", "query"), ("r", ["x"], "l", "query")]
    rows += [("a", ["x"], "l", "index"), ("b", ["y"], "l", "index"), ("c", ["z"], "l", "index")]
    evaluation = evaluate(several_labels(rows), angles(0, 1, 20, 10, 30))
    assert evaluation.per_query["merged"]["n"].to_list() == [2, 1]
    assert evaluation.per_query["merged"]["hits"].to_list() == [[True, True, False], [False, True, False]]
    assert evaluation.per_query["merged"]["mMP@5"].to_list() == [1, 0]
    assert evaluation.per_query["merged"]["label"].to_list() == [["x", "y"], ["x"]]
