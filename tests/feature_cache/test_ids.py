import unicodedata
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_cache import Failure, FeatureStore, MissingIdsError, Rows, StoreError, StoreWriter
from tests.conftest import examples, quick

SPEC = {"backbone": {"model": "tiny"}}
DIM = 3
ODD = [
    " ",
    "  two spaces/at the end  ",
    "tab\tand\nnew\r\nline.jpg\n",
    "caf\u00e9.jpg",  # composed
    "cafe\u0301.jpg",  # decomposed: the same to the eye, another id
    "日本語/猫.png",
    "🦊/👩‍👩‍👧.webp",
    "\ufeff\u202e\x7f\U0010ffff",
    "a" * 4096,
    "é" * 2048,
    "🦊" * 1024,
    "0",
    "..",
    "'\"\\,;|#%",
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
image_ids = st.sampled_from(ODD) | texts.filter(bool)
id_lists = st.lists(image_ids, min_size=1, max_size=12, unique=True)
checked = examples(10, 25)


def rows_of(ids: list[str]) -> Rows:
    """Row i has i in every column."""
    number = np.arange(len(ids))
    return Rows(ids, np.repeat(number[:, None], DIM, axis=1), np.repeat(number[:, None], 2, axis=1))


def part(rows: Rows, start: int, stop: int) -> Rows:
    return Rows(rows.ids[start:stop], rows.features[start:stop], rows.sizes[start:stop])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.h5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For hypothesis, whose examples share it: `fresh(folder)`."""
    return tmp_path_factory.mktemp("ids")


def fresh(folder: Path) -> Path:
    return folder / f"{len(list(folder.iterdir()))}.h5"


@checked
@given(ids=id_lists, cuts=st.lists(st.integers(0, 12), max_size=3), shuffled=st.randoms())
@example(ids=ODD, cuts=[3, 4, 9], shuffled=None)
def test_any_ids_come_back_from_several_parts_and_find_their_rows(
    folder: Path, ids: list[str], cuts: list[int], shuffled
) -> None:
    path, rows = fresh(folder), rows_of(ids)
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    for start, stop in pairwise(bounds):
        with StoreWriter(path, SPEC) as writer:  # a writer for each part, so that each is read back as well
            writer.add(part(rows, start, stop))
            assert writer.done == set(ids[:stop])
    with StoreWriter(path, SPEC) as writer:
        writer.finish()
        assert writer.done == set(ids)
    store = FeatureStore(path)
    assert store.ids == ids
    assert all(image in store for image in ids)
    order = list(range(len(ids)))
    if shuffled:
        shuffled.shuffle(order)
    wanted = [ids[row] for row in order]
    np.testing.assert_array_equal(store.rows_of(wanted), order)
    np.testing.assert_array_equal(store.load(wanted), rows.features[order])
    np.testing.assert_array_equal(store.load(), rows.features)
    np.testing.assert_array_equal(store.sizes, rows.sizes)
    assert [image for block in store.blocks(2) for image in block.ids] == ids


@pytest.mark.slow
@checked
@given(ids=id_lists, reasons=st.lists(texts, min_size=12, max_size=12))
@example(ids=ODD, reasons=["OSError: truncated", "", "🦊 \n\t é e\u0301", "x" * 5000] * 4)
def test_any_ids_of_failures_and_their_reasons_come_back(folder: Path, ids: list[str], reasons: list[str]) -> None:
    path = fresh(folder)
    failures = [Failure(image, reason) for image, reason in zip(ids, reasons, strict=False)]
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of([]), failures[::2])
        writer.add(rows_of([]), failures[1::2])
    with StoreWriter(path, SPEC) as writer:
        assert writer.done == set(ids)
        assert writer.failed == {failure.id: failure for failure in failures}
        writer.finish()
    assert FeatureStore(path).failed == sorted(failures)
    assert FeatureStore(path).ids == []


@pytest.mark.slow
@checked
@given(ids=id_lists, data=st.data())
def test_any_id_is_refused_a_second_time_by_part_and_by_store(folder: Path, ids: list[str], data) -> None:
    path, twice = fresh(folder), data.draw(st.sampled_from(ids))
    with StoreWriter(path, SPEC) as writer:
        with pytest.raises(StoreError, match="ids are unique"):
            writer.add(rows_of([*ids, twice]))
        writer.add(rows_of(ids))
        with pytest.raises(StoreError, match="ids are unique"):
            writer.add(rows_of([twice]))
    for finish in (False, True):
        with StoreWriter(path, SPEC) as writer:
            with pytest.raises(StoreError, match="ids are unique"):
                writer.add(rows_of([twice]))
            if not finish:
                writer.finish()
    assert FeatureStore(path).ids == ids


NAME = "café/Ångström.jpg"
ALIKE = {
    "decomposed": (unicodedata.normalize("NFC", NAME), unicodedata.normalize("NFD", NAME)),
    "composed": (unicodedata.normalize("NFD", NAME), unicodedata.normalize("NFC", NAME)),
    "case": (NAME, NAME.upper()),
    "space": (NAME, f"{NAME} "),
    "newline": (NAME, f"{NAME}\n"),
}


@pytest.mark.parametrize(("image", "other"), ALIKE.values(), ids=ALIKE.keys())
def test_an_id_that_only_looks_alike_is_another_one(path: Path, image: str, other: str) -> None:
    assert image != other
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of([image]))
        writer.finish()
    assert other not in FeatureStore(path)
    with pytest.raises(MissingIdsError) as caught:
        FeatureStore(path).load([other])
    assert caught.value.ids == [other]
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of([other]))
        writer.finish()
    assert FeatureStore(path).ids == [image, other]


NO_IDS = {"empty": "", "NUL": "a\0b.jpg", "trailing NUL": "a.jpg\0", "surrogate": "a\udce9.jpg", "half": "\ud83e.jpg"}


@pytest.mark.parametrize("role", quick(["row", "failure"]))
@pytest.mark.parametrize("wrong", NO_IDS.values(), ids=NO_IDS.keys())
def test_what_hdf5_would_not_keep_as_it_is_is_refused_by_name_and_leaves_no_trace(
    path: Path, wrong: str, role: str
) -> None:
    ids, failures = ["a.jpg", "c.jpg"], [Failure("b.jpg", "OSError: truncated")]
    if role == "row":
        ids.insert(1, wrong)
    else:
        failures.append(Failure(wrong, "OSError: truncated"))
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(["before.jpg"]))
        with pytest.raises(StoreError, match="not an id") as caught:
            writer.add(rows_of(ids), failures)
        assert repr(wrong) in str(caught.value)
        assert str(caught.value).isprintable()
        assert writer.done == {"before.jpg"}
        writer.add(rows_of(["a.jpg"]))
        writer.finish()
    assert FeatureStore(path).ids == ["before.jpg", "a.jpg"]


@pytest.mark.parametrize("wrong", NO_IDS.values(), ids=NO_IDS.keys())
def test_asking_for_what_is_no_id_is_a_missing_id(path: Path, wrong: str) -> None:
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(["a.jpg"]))
        writer.finish()
    with pytest.raises(MissingIdsError) as caught:
        FeatureStore(path).load(["a.jpg", wrong])
    assert caught.value.ids == [wrong]


def test_a_reason_that_is_no_unicode_text_is_kept_readable(path: Path) -> None:
    """A decoder may quote the bytes of a file, or its name as the file system has it."""
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of([]), [Failure("a.jpg", "OSError: bad \0 in 'caf\udce9.jpg'"), Failure("b.jpg", "end\0")])
        writer.finish()
    assert FeatureStore(path).failed == [("a.jpg", r"OSError: bad \0 in 'caf\udce9.jpg'"), ("b.jpg", r"end\0")]


FAILURE = [Failure("a.jpg", "OSError: truncated")]
ADDED = {
    "failure first": [([], FAILURE), (["a.jpg"], [])],  # mended
    "row first": [(["a.jpg"], []), ([], FAILURE)],
    "one part": [(["a.jpg"], FAILURE)],
}


@pytest.mark.parametrize("added", ADDED.values(), ids=ADDED.keys())
def test_an_image_is_never_both_stored_and_failed(path: Path, added: list[tuple[list[str], list[Failure]]]) -> None:
    with StoreWriter(path, SPEC, retry_failed=True) as writer:
        writer.add(rows_of(["b.jpg"]))
        for ids, failures in added:
            with suppress(StoreError):
                writer.add(rows_of(ids), failures)
        writer.finish()
    store = FeatureStore(path)
    assert not {failure.id for failure in store.failed} & set(store.ids)
    assert added != ADDED["failure first"] or store.ids == ["b.jpg", "a.jpg"]
