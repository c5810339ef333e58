import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from probe.metrics import relevance
from probe.metrics.relevance import class_numbers, relevant_counts
from tests.conftest import examples


def relevant_hits(queries: pl.DataFrame, index: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Of index rows."""
    of_query, of_row = class_numbers(queries, index)
    return relevance.relevant_hits(of_query, of_row[:, None], rows)


def images(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """Rows of image, label, domain; all of one source."""
    frame = pl.DataFrame(rows, ["image", "label", "domain"], orient="row")
    return frame.with_columns(source=pl.lit("photos"))


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


@examples(40, 400)
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
