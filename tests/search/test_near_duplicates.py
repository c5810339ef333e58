"""Which near-duplicates are left out, against every pair in plain float64."""

import importlib
import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.extract import FeatureRows
from probe.search import near_duplicates, search
from tests.conftest import examples

module = importlib.import_module("probe.search.near_duplicates")
LeftOut = dict[tuple[str, str], tuple[str, bool, float]]  # image and label -> what it is near, whether a query, cosine


def images(features: np.ndarray, labels: list[str], names: list[str] | None = None) -> FeatureRows:
    names = names or [f"{number:03}.jpg" for number in range(len(labels))]
    frame = pl.DataFrame({"source": "s", "image": names, "domain": "d", "label": labels}, orient="col")
    return FeatureRows(frame, features)


def found(rows: FeatureRows, threshold: float, queries: FeatureRows | None) -> LeftOut:
    cells = near_duplicates(rows, threshold, queries).select("image", "label", "near_image", "of_query", "cosine")
    return {(image, label): (near, of_query, value) for image, label, near, of_query, value in cells.rows()}


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return math.fsum(one * other) / math.sqrt(math.fsum(one * one) * math.fsum(other * other))


def slowly(rows: FeatureRows, threshold: float, queries: FeatureRows | None) -> LeftOut:
    """One image after the other, by its name and label; every cosine in float64."""
    cells = list(zip(rows.frame["image"], rows.frame["label"], rows.features, strict=True))
    asked = list(zip(queries.frame["image"], queries.features, strict=True)) if queries else []
    stay: list[tuple[str, str, np.ndarray]] = []
    left_out: LeftOut = {}
    for image, label, vector in sorted(cells, key=lambda cell: cell[:2]):
        near = [(cosine(vector, other), name) for name, other in asked]
        of_class = [(cosine(vector, other), name) for name, its, other in stay if its == label]
        assume(all(abs(value - threshold) > 1e-9 for value, _ in near + of_class))
        for of_query, candidates in ((True, near), (False, of_class)):
            if candidates and max(candidates)[0] > threshold:
                best = max(value for value, _ in candidates)
                first = next(name for value, name in candidates if value == best)
                left_out[image, label] = (first, of_query, best)
                break
        else:
            stay.append((image, label, vector))
    return left_out


@examples(40, 400)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 0.99]), st.booleans(), st.sampled_from([1, 3, 512]))
def test_those_left_out_are_those_of_a_search_of_all_pairs(
    seed: int, threshold: float, with_queries: bool, at_once: int
) -> None:
    """Drawn round a few directions, so that near-duplicates and chains of them abound; float16, as stores have them."""
    rng = np.random.default_rng(seed)
    number, dim = int(rng.integers(1, 30)), int(rng.integers(2, 9))
    centres = rng.normal(size=(4, dim))
    features = (centres[rng.integers(0, 4, number)] + rng.normal(size=(number, dim)) * 0.4).astype(np.float16)
    names = [f"{place:03}.jpg" for place in rng.permutation(number)]
    rows = images(features, [str(label) for label in rng.integers(0, 3, number)], names)
    queries = images(rng.normal(size=(5, dim)).astype(np.float16), ["?"] * 5) if with_queries else None
    expected = slowly(rows, threshold, queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AT_ONCE", at_once)
        left_out = found(rows, threshold, queries)
    assert left_out.keys() == expected.keys()
    for key, (near, of_query, value) in expected.items():
        assert left_out[key][1] == of_query
        assert math.isclose(left_out[key][2], value, abs_tol=1e-12)
        assert left_out[key][0] == near or sum(of == value for _, _, of in expected.values()) > 1


def test_of_a_chain_the_first_and_the_third_stay() -> None:
    """0 is near 1 and 1 near 2, but 0 is not near 2: 1 goes, for 0, and 2 has nothing left that it is near."""
    angles = np.deg2rad([0, 20, 40])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert found(images(features, ["a", "a", "a"]), 0.9, None).keys() == {("001.jpg", "a")}
    assert found(images(features, ["a", "a", "a"], ["1", "0", "2"]), 0.9, None).keys() == {("1", "a"), ("2", "a")}


def test_another_class_makes_no_near_duplicate_and_a_query_of_any_class_does() -> None:
    features = np.eye(3, 4)[[0, 0, 1]]
    rows = images(features, ["a", "b", "c"])
    assert not found(rows, 0.9, None)
    queries = images(np.eye(4)[[3, 1]], ["?", "?"], ["q0", "q1"])
    assert found(rows, 0.9, queries) == {("002.jpg", "c"): ("q1", True, 1.0)}


def test_an_image_of_two_classes_is_compared_in_each() -> None:
    features = np.eye(2)[[0, 0, 0]]
    rows = images(features, ["a", "b", "b"], ["x", "x", "y"])
    assert found(rows, 0.9, None) == {("y", "b"): ("x", False, 1.0)}


def test_neither_the_order_of_the_rows_nor_the_blocks_change_what_is_left_out() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(6, 16))[rng.integers(0, 6, 80)] + rng.normal(size=(80, 16)) * 0.3).astype(np.float16)
    rows = images(features, [str(label) for label in rng.integers(0, 2, 80)])
    whole = near_duplicates(rows, 0.9, None)
    assert 10 < len(whole) < 70
    order = rng.permutation(80)
    for at_once in (7, 512):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "AT_ONCE", at_once)
            assert near_duplicates(FeatureRows(rows.frame[order], features[order]), 0.9, None).equals(whole)


def test_the_cosines_are_the_bits_of_a_search() -> None:
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(1, 24)) + rng.normal(size=(9, 24)) * 0.1).astype(np.float16)
    rows = images(features, ["a"] * 9)
    left_out = found(rows, 0.5, None)
    neighbours = search(torch.from_numpy(features[1:]), torch.from_numpy(features[:1]), 1, module.NO_PAIRS)
    assert [left_out[f"{i:03}.jpg", "a"][2] for i in range(1, 9)] == neighbours.similarities[:, 0].tolist()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_features_without_a_direction_are_an_error_that_names_the_image(value: float) -> None:
    features = np.ones((3, 2))
    features[1] = value
    for rows, queries in ((features, None), (np.ones((3, 2)), features)):
        with pytest.raises(UsageError, match=r"1 image\(s\) are zero or not finite, the first of s/001\.jpg"):
            found(images(rows, ["a"] * 3), 0.9, None if queries is None else images(queries, ["?"] * 3))
