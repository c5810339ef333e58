"""Delimited text in the forms in which it is published, and what is said of text that is not in that form."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.data.readers.base import reader_of
from probe.data.readers.delimited import Delimited
from probe.errors import UsageError
from tests.conftest import examples
from tests.data.readers.conftest import Put

PRODUCTS = Delimited.Config(
    file=("train.csv",), image="train/{name}", label="{class}", integers=("class",), part="train"
)
INSHOP = Delimited.Config(
    file=("list.txt",),
    separator="space",
    first_line="count",
    image="{image_name}",
    label="{item_id}",
    part="train",
)


def test_a_quoted_field_may_hold_the_separator_and_a_line_end(put: Put):
    path = put("train.csv", 'name,title,class\n0.jpg,"a, b\nc ""d""",7\n')
    assert reader_of(PRODUCTS).rows(path)["label"].to_list() == ["7"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_are_no_part_of_the_fields(put: Put, ends: str, mark: str):
    path = put("train.csv", mark + ends.join(["name,class,group", "0.jpg,7,1", ""]))
    assert reader_of(PRODUCTS).rows(path).select("image", "label").rows() == [("train/0.jpg", "7")]
    spaced = put("list.txt", mark + ends.join(["1", "image_name item_id", "img/a.jpg    id_1", ""]))
    assert reader_of(INSHOP).rows(spaced).select("image", "label").rows() == [("img/a.jpg", "id_1")]


def test_leading_zeros_are_kept(put: Put):
    assert reader_of(PRODUCTS).rows(put("train.csv", "name,class\n0.jpg,0108775\n"))["label"].to_list() == ["0108775"]


@pytest.mark.parametrize(
    ("table", "content", "says"),
    [
        (PRODUCTS, "name,clas\n0.jpg,1\n", "no column 'class'; did you mean 'clas'? Is it the right file?"),
        (PRODUCTS, "name,class\n0.jpg,1\n1.jpg,shoe\n", "row 2: a 'class' that is no whole number (class 'shoe')"),
        (PRODUCTS, "name,class\n0.jpg,1\n1.jpg,\n", "row 2: a 'class' that is no whole number (class None)"),
        (PRODUCTS, "name,class\n,1\n", "row 1: no image"),
        (PRODUCTS, "name,class\n../0.jpg,1\n", "row 1: a path that leads out of its folder (image 'train/../0.jpg')"),
        (PRODUCTS, "name,class\n/etc/0.jpg,1\n", "row 1: a path that leads out of its folder"),
        (PRODUCTS, "name,class\na\\0.jpg,1\n", "row 1: a path that leads out of its folder"),
        (PRODUCTS, b"name,class\n0.jpg,1\nd\xe9.jpg,2\n", "line 3: not UTF-8 text; convert the file"),
        (PRODUCTS, "name,class\n0.jpg,1\n", None),
        (PRODUCTS, "name,class\n", "has no row that counts"),
        (PRODUCTS, "", "cannot be read as a table"),
        (PRODUCTS, "name,class\n0.jpg,1\n1.jpg,1,2,3\n", "cannot be read as a table (row 2 has 4 fields, not 2)"),
        (INSHOP, "2\nimage_name item_id\na.jpg id_1\n", "has 1 rows but its first line says 2; download it again"),
        (INSHOP, "1\nimage_name item_id\na b.jpg id_1\n", "row 1: does not have 2 fields (image_name, item_id)"),
        (INSHOP, "1\nimage_name item\na.jpg id_1\n", "no column 'item_id'; did you mean 'item'?"),
        (INSHOP, b"1\nimage_name item_id\n\xff.jpg id_1\n", "line 3: not UTF-8 text"),
        (INSHOP, "", "has no rows"),
    ],
)
def test_a_malformed_file_is_named_with_row_and_remedy(
    put: Put, table: Delimited.Config, content: str | bytes, says: str | None
):
    path = put("file.txt", content)
    if says is None:
        assert reader_of(table).rows(path).height == 1
        return
    with pytest.raises(UsageError) as error:
        reader_of(table).rows(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_a_file_without_a_header_line_has_to_have_the_columns_that_are_named(put: Put):
    table = Delimited.Config(
        file=("t.txt",), header=("path", "class", "coarse"), image="{path}", label="{class}", part="test"
    )
    assert reader_of(table).rows(put("t.txt", "a.jpg, 0, 7\n"))["label"].to_list() == ["0"]
    with pytest.raises(UsageError, match=r"has 2 columns, not 3 \(path, class, coarse\); is it the right file"):
        reader_of(table).rows(put("t.txt", "a.jpg, 0\n"))


def test_the_name_of_a_folder_is_no_pattern(put: Put):
    put("data 2/train.csv", "name,class\n0.jpg,9\n")
    assert reader_of(PRODUCTS).rows(put("data [12]/train.csv", "name,class\n0.jpg,1\n"))["label"].to_list() == ["1"]


def test_a_field_with_spaces_at_its_end_is_the_same_field(put: Put):
    assert reader_of(PRODUCTS).rows(put("t.csv", "name , class\n0.jpg , 1 \n")).row(0)[:1] == ("train/0.jpg",)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1, unique_by=lambda row: row[0]), st.randoms()
)
@examples(25, 250)
def test_the_rows_do_not_depend_on_the_order_of_the_lines(tmp_path_factory: pytest.TempPathFactory, rows, random):
    path: Path = tmp_path_factory.mktemp("rows") / "train.csv"
    path.write_text("name,class\n" + "".join(f"{name}.jpg,{label}\n" for name, label in rows))
    one = reader_of(PRODUCTS).rows(path)
    random.shuffle(rows)
    path.write_text("class,name\n" + "".join(f"{label},{name}.jpg\n" for name, label in rows))
    assert one.sort("image").equals(reader_of(PRODUCTS).rows(path).sort("image"))
