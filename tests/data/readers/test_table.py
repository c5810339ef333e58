"""What all formats share: templates, places, parts, rows that are kept, rows that are listed more than once."""

import polars as pl
import pytest
from pydantic import ValidationError

from probe.data.readers.base import Parts, Place, reader_of
from probe.data.readers.delimited import Delimited
from probe.data.readers.template import columns_of, render
from probe.errors import UsageError
from tests.data.readers.conftest import Put


def table(**fields: object) -> Delimited.Config:
    return Delimited.Config.model_validate(
        {"file": "t.csv", "image": "{path}", "label": "{label}", "part": "train"} | fields
    )


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{id}", "abcdef"),
        ("train/{id[0]}/{id[1]}/{id[2]}/{id}.jpg", "train/a/b/c/abcdef.jpg"),
        ("{id[:3]}/{id[3:]}", "abc/def"),
        ("{id[1:3]}", "bc"),
        ("{pair}_{style}", "7_1"),
        ("as it is", "as it is"),
    ],
)
def test_a_template_is_written_from_columns(template: str, written: str):
    frame = pl.DataFrame({"id": ["abcdef"], "pair": ["7"], "style": ["1"]})
    assert frame.select(x=render(template))["x"].to_list() == [written]
    assert set(columns_of(template)) <= {"id", "pair", "style"}


def test_the_longest_prefix_counts(put: Put):
    path = put("t.csv", "path,label\ncars/train/1.jpg,x\ncars/train/train/2.jpg,y\n")
    places = (
        Place(prefix="cars/", source="cars"),
        Place(prefix="cars/train/train/", source="cars", id="train/", domain="c"),
    )
    rows = reader_of(table(places=places)).rows(path)
    assert rows.select("image", "source", "domain").rows() == [
        ("train/1.jpg", "cars", None),
        ("train/2.jpg", "cars", "c"),
    ]


def test_a_prefix_that_is_all_of_a_path_is_an_error(put: Put):
    path = put("t.csv", "path,label\ncars/,x\n")
    with pytest.raises(UsageError, match="row 1: a path that leads out of its folder"):
        reader_of(table(places=(Place(prefix="cars/", source="cars"),))).rows(path)


def test_a_value_that_names_no_part_is_an_error(put: Put):
    path = put("t.csv", "path,label,set\na.jpg,x,train\nb.jpg,x,dev\n")
    parts = Parts(column="set", values={"train": "train", "gallery": "test/index"})
    with pytest.raises(UsageError, match=r"row 2: a 'set' other than train, gallery \(set 'dev'\)"):
        reader_of(table(part=None, parts=parts)).rows(path)


def test_rows_listed_twice_are_an_error_unless_the_format_repeats_them(put: Put):
    path = put("t.csv", "path,label\na.jpg,x\na.jpg,x\nb.jpg,x\n")
    with pytest.raises(UsageError, match=r"t\.csv, row 1: the same image and label as in another row"):
        reader_of(table()).rows(path)
    assert reader_of(table(distinct=True)).rows(path)["image"].to_list() == ["a.jpg", "b.jpg"]


def test_a_row_number_is_that_of_the_line_before_any_row_is_left_out(put: Put):
    path = put("t.csv", "path,label,kind\na.jpg,x,no\nb.jpg,,yes\n")
    with pytest.raises(UsageError, match=r"row 2: no label"):
        reader_of(table(keep={"kind": ["yes"]})).rows(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"part": "training"},
        {"part": "train/query"},
        {"part": "test/train"},
        {"part": None},
        {"parts": {"column": "set", "values": {"a": "train"}}},
        {"part": None, "parts": {"column": "set", "values": {"a": "nowhere"}}},
        {"match": {"path": "("}},
        {"match": {"path": "no group"}},
        {"separator": "pipe"},
    ],
)
def test_a_table_that_makes_no_sense_is_refused_when_the_catalogue_is_read(fields: dict[str, object]):
    with pytest.raises(ValidationError):
        table(**fields)
