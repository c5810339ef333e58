"""Files as downloads, editors and scripts leave them: one sentence that names the file, or the right rows."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from probe.data.dataset import read_dataset
from probe.data.images import missing_images
from probe.data.readers.base import READERS, Reader, reader_of
from probe.data.readers.coco import Coco
from probe.data.readers.delimited import Delimited
from probe.data.readers.grouped import Grouped
from probe.data.readers.items import Items
from probe.data.readers.matlab import Matlab
from probe.data.readers.records import Records
from probe.data.readers.tree import Tree
from probe.errors import UsageError
from tests.data.readers.conftest import Put

RECORDS = Records.Config(file=("f",), image="{path}", label="{class_id}", part="train")
MET = Records.Config(file=("f",), image="{path}", label="{MET_id}", keep={"MET_id": "present"}, part="val/query")
GROUPED = Grouped.Config(file=("f",), keys=("group", "item"), image="{image}", label="{group}/{item}", part="train")
COCO = Coco.Config(file=("f",), image="{file_name}", label="{category_id}", part="train")
COMMA = Delimited.Config(file=("f",), image="{img_path}", label="{label}", part="train")
SPACE = Delimited.Config(
    file=("f",), separator="space", image="{path}", label="{class_id}", integers=("class_id",), part="train"
)
CARS = Matlab.Config(file=("f",), variable="annotations", image="{fname}", label="{class}", part="train")
CLOTHES = Items.Config(file=("annos",), image="{number}.jpg", label="{label}", keep={"label": "present"}, part="train")
TREE = Tree.Config(file=("tree",), match={"path": "^(?P<class>[^/]+)/"}, image="{path}", label="{class}", part="train")


def record(path: object, label: object) -> str:
    return json.dumps([{"path": "ok.jpg", "class_id": 1}, {"path": path, "class_id": label}])


def coco(image_id: int, name: str) -> str:
    images, categories = [{"id": image_id, "file_name": name}], [{"id": 2, "name": "x"}]
    annotations = [{"image_id": image_id, "category_id": 2}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def matlab(annotations: object) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {"annotations": annotations})
    return file.getvalue()


def of_another_type() -> bytes:
    """A field of a struct is of a class that there is not, at which SciPy raises UnboundLocalError."""
    content = bytearray(matlab(np.array([(1.0,)], [("class", object)])))
    content[content.rindex(b"\x06\0\0\0\x08\0\0\0") + 8] = 20
    return bytes(content)


MALFORMED: dict[str, tuple[Reader.Config, str | bytes]] = {
    "a number that no database has": (RECORDS, json.dumps([{"path": "a.jpg", "class_id": 10**25}])),
    "half a character in a path": (RECORDS, record("\ud800.jpg", 1)),
    "half a character in a label": (RECORDS, record("a.jpg", "\ud800")),
    "a zero byte in a path": (RECORDS, record("a\0.jpg", 1)),
    "brackets without end": (RECORDS, "[" * 100_000),
    "a record that is null": (RECORDS, "[null]"),
    "a list where one label is wanted": (MET, '[{"path": "a.jpg", "MET_id": {"id": 1}}]'),
    "no label in a list": (RECORDS, record("a.jpg", [])),
    "an empty label in a list": (RECORDS, record("a.jpg", ["", "x"])),
    "an object as label": (RECORDS, record("a.jpg", {"id": 1})),
    "half a character in a key": (GROUPED, '{"\\ud800": {"1": ["a.jpg"]}}'),
    "a group that is null": (GROUPED, '{"a": null}'),
    "a huge image id": (COCO, coco(10**30, "a.jpg")),
    "half a character in a file name": (COCO, coco(1, "\ud800.jpg")),
    "a column twice but for a space": (COMMA, "img_path, img_path,label\na,b,1\n"),
    "a web page": (COMMA, "<!DOCTYPE html><html>\n<body>404</body>\n"),
    "a pointer of Git LFS": (COMMA, "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"),
    "a quote without end": (COMMA, 'img_path,label\n"a,1\nb,2\n'),
    "text in UTF-16": (COMMA, "img_path,label\na,1\n".encode("utf-16")),
    "a column twice": (SPACE, "path class_id path class_id\na 1 a 1\n"),
    "the header line gone": (SPACE, "1 1 1 a\n2 2 2 b\n"),
    "a file name with a space": (SPACE, "class_id path\n1 a b.jpg\n"),
    "a number for the array": (CARS, matlab(5)),
    "text for the array": (CARS, matlab("annotations")),
    "a header cut off": (CARS, matlab(5)[:60]),
    "an array cut off": (CARS, matlab(np.zeros((50, 50)))[:300]),
    "an array whose type is damaged": (CARS, of_another_type()),
    "a web page for the array": (CARS, b"<!DOCTYPE html><html></html>" * 20),
}


@pytest.mark.parametrize("kind", READERS.kinds)
def test_every_reader_refuses_what_is_not_its_format_in_one_sentence(put: Put, kind: str):
    config = {config.kind: config for config in (RECORDS, GROUPED, COCO, COMMA, CARS, CLOTHES, TREE)}[kind]
    path = put("f/g", b"\0\xff[{")
    path = path.parent if config.is_folder else path
    with pytest.raises(UsageError) as error:
        reader_of(config).rows(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("what", MALFORMED)
def test_whatever_is_wrong_with_a_file_is_one_sentence_that_names_it(put: Put, what: str):
    table, content = MALFORMED[what]
    path = put("f", content)
    with pytest.raises(UsageError) as error:
        reader_of(table).rows(path)
    said = str(error.value)
    assert str(path) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("style", ["Infinity", "NaN", "null", '"x"'])
def test_a_style_that_is_no_number_names_the_annotation(put: Put, style: str):
    path = put("annos/000001.json", f'{{"pair_id": 1, "source": "shop", "item1": {{"style": {style}}}}}')
    with pytest.raises(UsageError, match=r"000001\.json"):
        reader_of(CLOTHES).rows(path.parent)


def test_a_field_that_is_null_is_not_suggested_for_itself(put: Put):
    path = put("f", record(None, 1))
    with pytest.raises(UsageError, match="row 2") as error:
        reader_of(RECORDS).rows(path)
    assert "did you mean 'path'" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ['{"a": {"1": ["x.jpg"], "1": ["y.jpg"]}}', '{"a": {"1": ["x.jpg"]}, "a": {"2": ["y.jpg"]}}'],
    ids=["item", "group"],
)
def test_images_under_a_key_that_comes_twice_are_kept_or_refused(put: Put, content: str):
    try:
        images = reader_of(GROUPED).rows(put("f", content))["image"].to_list()
    except UsageError:
        return
    assert images == ["x.jpg", "y.jpg"]


def test_groups_and_items_whose_names_hold_a_slash_stay_classes_of_their_own(put: Put):
    content = '{"a/b": {"c": ["x.jpg"]}, "a": {"b/c": ["y.jpg"]}}'
    try:
        labels = reader_of(GROUPED).rows(put("f", content))["label"].to_list()
    except UsageError:
        return
    assert len(set(labels)) == 2


@pytest.mark.parametrize(
    ("path", "label"),
    [("sop/a/1.JPG", 1), ("sop/a/2.JPG", ["", 3])],
    ids=["an image twice", "an empty label in a list"],
)
def test_a_row_that_only_the_whole_manifest_shows_to_be_wrong_names_its_file(
    put: Put, tmp_path: Path, path: str, label: object
):
    records = [{"path": "sop/a/1.JPG", "class_id": 1}, {"path": path, "class_id": label}]
    put("info_files/sop/train.json", '[{"path": "sop/a/0.JPG", "class_id": 0}]')
    put("info_files/sop/val.json", json.dumps(records))
    put("info_files/sop/test.json", '[{"path": "sop/a/3.JPG", "class_id": 3}]')
    with pytest.raises(UsageError, match=r"val\.json"):
        read_dataset("uned-sop", tmp_path)


@pytest.mark.parametrize(
    "folder",
    [
        "农夫",
        "#U519c#U592b",
        "cafe\u0301",
        "caf\u00e9",
        "caf#U00e9",
        "cafe#U0301",
        "\uf914",
        "#Uf914",
        "😀",
        "#L01f600",
    ],
    ids=[
        "as it is",
        "escaped",
        "NFD",
        "NFC",
        "NFC escaped",
        "NFD escaped",
        "compatible",
        "compatible escaped",
        "emoji",
        "emoji escaped",
    ],
)
def test_an_image_that_is_listed_is_found_again(put: Put, folder: str):
    image = put(f"tree/{folder}/1.jpg", "")
    root = image.parents[1]
    assert missing_images(root, reader_of(TREE).rows(root)["image"].to_list()) == []


def test_hidden_files_beside_annotations_are_no_annotations(put: Put):
    put("annos/000001.json", '{"pair_id": 1, "source": "shop", "item1": {"style": 1}}')
    hidden = put("annos/._000001.json", b"\0\x05\x16\x07")
    assert reader_of(CLOTHES).rows(hidden.parent)["image"].to_list() == ["000001.jpg"]


@pytest.mark.parametrize("labels", [["01", "1"], ["-07", "-7", "-7"]])
def test_two_spellings_of_one_number_are_refused(put: Put, labels: list[str]):
    rows = "".join(f"{label} {row}.jpg\n" for row, label in enumerate(labels))
    with pytest.raises(UsageError, match="row 1: a 'class_id' that other rows write with other zeros"):
        reader_of(SPACE).rows(put("f", f"class_id path\n{rows}"))


def test_zeros_before_a_number_stay(put: Put):
    assert reader_of(SPACE).rows(put("f", "class_id path\n01 a.jpg\n02 b.jpg\n"))["label"].to_list() == ["01", "02"]


def test_a_number_in_other_digits_than_those_of_ascii_is_refused(put: Put):
    with pytest.raises(UsageError, match="no whole number"):
        reader_of(SPACE).rows(put("f", "class_id path\n\u0661 a.jpg\n"))


@pytest.mark.parametrize("row", ['a"b.jpg,1', '"a"b.jpg,1', '"a.jpg,1'], ids=["inside", "after", "without end"])
def test_a_quote_in_the_wrong_place_names_its_row(put: Put, row: str):
    with pytest.raises(UsageError, match="row 2 has a quote that is inside a field or without end"):
        reader_of(COMMA).rows(put("f", f'img_path,label\n"c,d.jpg",1\n{row}\nb.jpg,2\n'))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_text_in_utf_16_is_called_so(put: Put, encoding: str):
    with pytest.raises(UsageError, match="is UTF-16 text; save it as UTF-8"):
        reader_of(COMMA).rows(put("f", "img_path,label\na,1\n".encode(encoding)))


def test_a_list_in_a_column_that_only_says_which_rows_count_is_present(put: Put):
    content = '[{"path": "a.jpg", "MET_id": [1, 2]}, {"path": "b.jpg", "MET_id": null}, {"path": "c.jpg", "MET_id": 3}]'
    assert reader_of(MET).rows(put("f", content))["image"].to_list() == ["a.jpg", "c.jpg"]


def test_a_label_twice_in_a_list_names_the_row(put: Put):
    with pytest.raises(UsageError, match="row 2: a label twice"):
        reader_of(RECORDS).rows(put("f", record("a.jpg", ["x", "x"])))
