import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probe.data.manifest import Manifest
from probe.errors import UsageError
from probe.retrieval.evaluation import Evaluation, evaluate

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
    assert evaluation.summary == {
        "mean": {"mMP@5": 1.0, "R@1": 1.0},
        "domains": {
            "cars": {"mMP@5": 1.0, "R@1": 1.0, "queries": 2, "nothing_to_find": 1},
            "food": {"mMP@5": None, "R@1": None, "queries": 0, "nothing_to_find": 1},
        },
    }
    assert evaluation.per_query["merged"]["n"].to_list() == [1, 1, 0, 0]
    assert evaluation.per_query["merged"]["mMP@5"].is_nan().to_list() == [False, False, True, True]


def test_the_mean_weighs_domains_equally_and_queries_within_a_domain() -> None:
    rows = [(f"c{i}", "x", "cars", "both") for i in range(4)] + [("f0", "x", "food", "both")]
    rows += [("f1", "x", "food", "both"), ("f2", "y", "food", "both"), ("f3", "y", "food", "both")]
    evaluation = evaluate(benchmark(rows), angles(0, 1, 2, 3, 90, 110, 91, 120))
    assert evaluation.summary["clean"]["merged"]["domains"]["cars"]["R@1"] == 1
    assert evaluation.summary["clean"]["merged"]["domains"]["food"]["R@1"] == 0
    assert evaluation.summary["clean"]["merged"]["mean"]["R@1"] == 0.5


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


def reference(frame: pl.DataFrame, vectors: np.ndarray, pool_row: list[int]) -> tuple[list[dict[str, Any]], dict]:
    """PROTOCOLS section 1 in plain loops over images and float64, self-exclusion by id; images of one vector tie."""
    unit = [vector / math.sqrt(math.fsum(vector**2)) for vector in vectors.astype(np.float64)]
    rows = list(enumerate(frame.iter_rows(named=True)))
    first: dict[tuple[str, str], int] = {}
    classes: dict[int, set[tuple[str, str]]] = {}
    for i, row in rows:
        if row["role"] in ("index", "both"):
            classes.setdefault(first.setdefault((row["source"], row["image"]), i), set()).add(
                (row["domain"], row["label"])
            )
    per_query = []
    for i, query in rows:
        if query["role"] == "index":
            continue
        others = [j for image, j in first.items() if image != (query["source"], query["image"])]
        ranked = sorted(others, key=lambda j: (-math.fsum(unit[pool_row[i]] * unit[pool_row[j]]), j))
        relevant = [(query["domain"], query["label"]) in classes[j] for j in ranked]
        n = sum(relevant)
        cut = min(n, 5)
        per_query.append(
            {
                "domain": query["domain"],
                "n": n,
                "neighbours": [frame["image"][j] for j in ranked[:5]],
                "hits": relevant[:5],
                "mMP@5": sum(relevant[:cut]) / cut if n else math.nan,
                "R@1": float(relevant[0]) if n else math.nan,
            }
        )
    domains = {}
    for domain in {query["domain"] for query in per_query}:
        scored = [query for query in per_query if query["domain"] == domain and query["n"] > 0]
        domains[domain] = [sum(q[m] for q in scored) / len(scored) if scored else None for m in ("mMP@5", "R@1")]
    scored = [values for values in domains.values() if values[0] is not None]
    domains["mean"] = [sum(values[m] for values in scored) / len(scored) if scored else None for m in (0, 1)]
    return per_query, domains


@st.composite
def benchmarks(draw: st.DrawFn) -> tuple[pl.DataFrame, np.ndarray, list[int]]:
    """A split, a small pool of vectors and which of them each row's image has; duplicates abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = rng.standard_normal((draw(st.sampled_from([3, 12, 30])), 6)).astype(np.float32)
    unit = pool / np.linalg.norm(pool.astype(np.float64), axis=1, keepdims=True)
    similarities = np.sort(unit @ unit.T, axis=1)
    assume((np.diff(similarities, axis=1) > 1e-5).all())
    vector_of = {(f"{i}.jpg", domain): int(rng.integers(len(pool))) for i in range(20) for domain in ("cars", "food")}
    roles = draw(st.sampled_from([("both",), ("query", "index"), ("query", "index", "both")]))
    rows: dict[tuple[str, str, str], str] = {}
    for _ in range(rng.integers(2, 50)):
        domain = str(rng.choice(["cars", "food"]))
        rows[f"{rng.integers(20)}.jpg", str(rng.integers(4)), domain] = str(rng.choice(roles))
    frame = benchmark([(*row, role) for row, role in rows.items()])
    return frame, pool, [vector_of[row["image"], row["domain"]] for row in frame.iter_rows(named=True)]


@settings(max_examples=250, deadline=None)
@given(benchmarks())
def test_an_evaluation_equals_the_definitions_in_plain_loops(
    problem: tuple[pl.DataFrame, np.ndarray, list[int]],
) -> None:
    frame, pool, pool_row = problem
    per_query, domains = reference(frame, pool, pool_row)
    if not any(query["n"] for query in per_query):
        with pytest.raises(UsageError, match="nothing to score"):
            evaluate(frame, torch.from_numpy(pool[pool_row]))
        return
    evaluation = evaluate(frame, torch.from_numpy(pool[pool_row]))
    for found, expected in zip(evaluation.per_query["merged"].iter_rows(named=True), per_query, strict=True):
        assert {name: found[name] for name in ("domain", "n", "neighbours", "hits")} == {
            name: expected[name] for name in ("domain", "n", "neighbours", "hits")
        }
        for metric in ("mMP@5", "R@1"):
            assert found[metric] == pytest.approx(expected[metric], nan_ok=True)
            assert not found["n"] or 0 <= found[metric] <= 1
    summaries = evaluation.summary["clean"]["merged"]["domains"] | {
        "mean": evaluation.summary["clean"]["merged"]["mean"]
    }
    assert summaries.keys() == domains.keys()
    for name, values in domains.items():
        assert [summaries[name]["mMP@5"], summaries[name]["R@1"]] == pytest.approx(values)
    counted = [(d["queries"], d["nothing_to_find"]) for d in evaluation.summary["clean"]["merged"]["domains"].values()]
    assert sum(map(sum, counted)) == len(per_query)
    assert sum(queries for queries, _ in counted) == sum(query["n"] > 0 for query in per_query)


@settings(max_examples=60, deadline=None)
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
    sorted_before, sorted_after = (
        each.per_query["merged"].drop("similarities").sort("image") for each in (before, after)
    )
    assert sorted_after.equals(sorted_before)
    for name in before.summary["clean"]["merged"]["domains"]:
        assert after.summary["clean"]["merged"]["domains"][name] == pytest.approx(
            before.summary["clean"]["merged"]["domains"][name]
        )


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


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_evaluation_of_several_labels_equals_the_definitions_in_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows: list[Labelled] = []
    for i in range(30):
        role = str(rng.choice(["query", "index"]))
        labels = rng.choice(5, rng.integers(1, 4) if role == "query" else 1, replace=False)
        rows.append((f"{i}", [str(label) for label in labels], str(rng.choice(["l", "m"])), role))
    vectors = rng.standard_normal((30, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    index = [i for i, row in enumerate(rows) if row[3] == "index"]
    queries = [i for i, row in enumerate(rows) if row[3] == "query"]

    def relevant(i: int, j: int) -> bool:
        return rows[i][2] == rows[j][2] and bool(set(rows[i][1]) & set(rows[j][1]))

    ns = [sum(relevant(i, j) for j in index) for i in queries]
    assume(any(ns))
    evaluation = evaluate(several_labels(rows), torch.from_numpy(vectors))
    assert evaluation.per_query["merged"]["n"].to_list() == ns
    for i, n, found in zip(queries, ns, evaluation.per_query["merged"].iter_rows(named=True), strict=True):
        ranked = sorted(index, key=lambda j: -math.fsum(unit[i] * unit[j]))
        cut = min(n, 5)
        expected = sum(relevant(i, j) for j in ranked[:cut]) / cut if n else math.nan
        assert found["mMP@5"] == pytest.approx(expected, nan_ok=True)
        assert found["R@1"] == pytest.approx(float(relevant(i, ranked[0])) if n else math.nan, nan_ok=True)
