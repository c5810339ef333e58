from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from probe.data.manifest import COLUMNS, Manifest
from probe.data.problems import find_problems
from tests.conftest import examples

Row = tuple[str, str, list[str], str, str, str]


def manifest(*rows: tuple[str, str | list[str], str, str]) -> Manifest:
    """Rows of image, label or labels, split, role; of one source and domain."""
    cells = [(image, "s", [x] if isinstance(x, str) else x, "d", split, role) for image, x, split, role in rows]
    return Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), {"s": Path("/data/s")})


def found(m: Manifest) -> dict[str, list[tuple]]:
    return {problem.what: problem.rows.rows() for problem in find_problems(m)}


LEAKS = "queries that another split has as queries or as training images"
LABELS = "training images under several labels"
LOST = "queries with no other image of their class in the index"


def test_a_query_that_was_trained_on_is_told() -> None:
    rows = [("a", "x", "train", "train"), ("a", "x", "test", "both"), ("b", "x", "test", "index")]
    assert found(manifest(*rows)) == {LEAKS: [("s", "a", "test, train")]}


def test_a_query_of_two_splits_is_told() -> None:
    rows = [("a", "x", "val", "query"), ("b", "x", "val", "index"), ("a", "x", "test", "query")]
    assert found(manifest(*rows, ("b", "x", "test", "index"))) == {LEAKS: [("s", "a", "test, val")]}


def test_an_index_of_training_images_is_no_problem_as_met_has_it() -> None:
    rows = [("a", "x", "train", "train"), ("a", "x", "test", "index"), ("q", "x", "test", "query")]
    assert found(manifest(*rows, ("a", "x", "val", "index"))) == {}


def test_a_training_image_under_two_labels_is_told() -> None:
    rows = [("a", "x", "train", "train"), ("a", "y", "train", "train"), ("b", "x", "train", "train")]
    assert found(manifest(*rows)) == {LABELS: [("s", "a", "d", "x"), ("s", "a", "d", "y")]}


def test_queries_that_can_find_nothing_are_told() -> None:
    rows = [("lonely", "x", "test", "both"), ("q", ["y", "z"], "test", "query"), ("r", ["y", "v"], "test", "query")]
    rows += [("a", "v", "test", "index"), ("other", "y", "val", "index"), ("p", "v", "test", "both")]
    assert found(manifest(*rows)) == {LOST: [("s", "lonely", "test", "d", "x"), ("s", "q", "test", "d", "y, z")]}


@examples(30, 200)
@given(st.data())
def test_problems_are_those_of_plain_loops(data: st.DataObject) -> None:
    cell = st.tuples(
        st.sampled_from("abcdef"),
        st.lists(st.sampled_from("xyz"), min_size=1, max_size=2, unique=True),
        st.sampled_from(["train train", "val both", "test query", "test index", "val query"]),
    )
    drawn = data.draw(st.lists(cell, min_size=1, max_size=15))
    rows: dict[tuple, Row] = {}
    for image, labels, where in drawn:
        split, role = where.split()
        labels = labels if role == "query" else labels[:1]
        rows[image, *labels, split] = (image, "s", labels, "d", split, role)
    m = Manifest(pl.DataFrame(list(rows.values()), COLUMNS, orient="row"))
    told = {problem.what: problem.rows for problem in find_problems(m)}
    cells = list(rows.values())
    splits_of = {image: {row[4] for row in cells if row[0] == image and row[5] != "index"} for image in "abcdef"}
    queries = {row[0] for row in cells if row[5] in ("query", "both")}
    leaks = {image for image in queries if len(splits_of[image]) > 1}
    labels_of = {image: {row[2][0] for row in cells if row[0] == image and row[4] == "train"} for image in "abcdef"}
    several = {(image, label) for image, labels in labels_of.items() if len(labels) > 1 for label in labels}
    lost = [
        (q[0], ", ".join(sorted(q[2])))
        for q in cells
        if q[5] in ("query", "both")
        and not any(
            i[5] in ("index", "both") and i[4] == q[4] and i[0] != q[0] and set(i[2]) & set(q[2]) for i in cells
        )
    ]
    assert set(told[LEAKS]["image"]) == leaks if leaks else LEAKS not in told
    assert set(told[LABELS].select("image", "label").rows()) == several if several else LABELS not in told
    assert sorted(told[LOST].select("image", "label").rows()) == sorted(lost) if lost else LOST not in told


ALIKE = "labels that differ by case or invisible characters alone"


def test_labels_that_look_alike_are_told_with_what_tells_them_apart() -> None:
    labels = ["Boot", "boot", "pump", "pu\u00admp", "old\u00a0shoe", "old shoe", "Stra\u00dfe", "STRASSE", "sandal"]
    rows = [(f"{i}{copy}", label, "test", "both") for i, label in enumerate(labels) for copy in "ab"]
    assert [(image, shown) for _, image, _, shown in found(manifest(*rows))[ALIKE]] == [
        ("0a", "Boot"),
        ("1a", "boot"),
        ("5a", "old shoe"),
        ("4a", "old\\xa0shoe"),
        ("2a", "pump"),
        ("3a", "pu\\xadmp"),
        ("7a", "STRASSE"),
        ("6a", "Stra\u00dfe"),
    ]


def test_labels_of_several_domains_may_look_alike_and_domains_may_not() -> None:
    classes = [("a", "coins"), ("A", "Coins"), ("a", "toys")]
    cells = [(f"{i}", "s", label, domain, "train", "train") for i, (label, domain) in enumerate(classes)]
    told = found(Manifest(pl.DataFrame(cells, COLUMNS, orient="row")))
    what = "domains that differ by case or invisible characters alone"
    assert told == {what: [("s", "1", "Coins"), ("s", "0", "coins")]}
