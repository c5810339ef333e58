"""The JSON formats: records, grouped images, COCO, DeepFashion2; and what is said of JSON that is none of these."""

import json

import pytest

from probe.data.readers.base import Place, Reader, reader_of
from probe.data.readers.coco import Coco
from probe.data.readers.grouped import Grouped
from probe.data.readers.items import Items
from probe.data.readers.records import Records
from probe.errors import UsageError
from tests.data.readers.conftest import Put

UNED = Records.Config(
    file=("train.json",),
    image="{path}",
    label="{class_id}",
    part="test/query",
    places=(Place(prefix="sop/", source="sop"),),
)
FOOD = Grouped.Config(file=("train.json",), image="images/{image}.jpg", label="{class}", part="train")
NESTED = Grouped.Config(
    file=("train.json",), keys=("group", "item"), image="{image}", label="{group}/{item}", part="train"
)
COCO = Coco.Config(file=("a.json",), image="{file_name}", label="{category_id}", part="train")
NAMED = Coco.Config(file=("a.json",), image="{file_name}", label="{category}", part="train")


def coco(**changes: object) -> str:
    whole: dict[str, object] = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 5}, {"image_id": 2, "category_id": 6}],
        "categories": [{"id": 5, "name": "bread"}, {"id": 6, "name": "tea"}],
    }
    return json.dumps(whole | changes)


def test_a_query_of_several_classes_makes_every_label_a_list(put: Put):
    path = put("t.json", json.dumps([{"path": "sop/a.jpg", "class_id": [3, 4]}, {"path": "sop/b.jpg", "class_id": 3}]))
    assert reader_of(UNED).rows(path)["label"].to_list() == [["3", "4"], ["3"]]


def test_numbers_and_text_may_be_labels_of_one_file(put: Put):
    path = put("t.json", json.dumps([{"path": "sop/a.jpg", "class_id": 3}, {"path": "sop/b.jpg", "class_id": "x"}]))
    assert reader_of(UNED).rows(path)["label"].to_list() == ["3", "x"]


def test_a_category_goes_by_its_number_or_its_name(put: Put):
    path = put("a.json", coco())
    assert reader_of(COCO).rows(path)["label"].to_list() == ["5", "6"]
    assert reader_of(NAMED).rows(path)["label"].to_list() == ["bread", "tea"]


@pytest.mark.parametrize(
    ("table", "content", "says"),
    [
        (UNED, "[{", "line 1: not JSON"),
        (UNED, '[\n{"path": "sop/a.jpg"\n "class_id": 1}]', "line 3: not JSON"),
        (UNED, b'[{"path": "sop/\xff.jpg", "class_id": 1}]', "line 1: not UTF-8"),
        (UNED, '{"path": "sop/a.jpg"}', "is not a list of objects; is it the right file?"),
        (UNED, "[]", "has no row that counts"),
        (
            UNED,
            '[{"path": "sop/a.jpg", "class_id": 1}, {"path": "sop/b.jpg", "clas_id": 1}]',
            "row 2: no 'class_id'; did",
        ),
        (UNED, '[{"path": "sop/a.jpg", "class_id": 1.5}]', "row 1: 'class_id' is 1.5, not text or a whole number"),
        (UNED, '[{"path": "sop/a.jpg", "class_id": true}]', "row 1: 'class_id' is True, not text or a whole number"),
        (UNED, '[{"path": "sop/a.jpg", "class_id": {}}]', "row 1: 'class_id' is {}, not text or a whole number"),
        (UNED, '[{"path": "sop/a.jpg", "class_id": []}]', "row 1: 'class_id' is [], not text or a whole number"),
        (UNED, '[{"path": "sop/a.jpg", "class_id": [1, null]}]', "row 1: 'class_id' is [1, None], not text"),
        (UNED, '[{"path": ["sop/a.jpg"], "class_id": 1}]', "row 1: 'path' is ['sop/a.jpg'], not text"),
        (UNED, '[{"path": "sop/../../a.jpg", "class_id": 1}]', "row 1: a path that leads out of its folder"),
        (
            UNED,
            '[{"path": "cars/a.jpg", "class_id": 1}]',
            "row 1: a path that does not begin with sop/ (image 'cars/a.jpg')",
        ),
        (FOOD, '["a"]', "at the top is no object keyed by class"),
        (FOOD, '{"tacos": "a"}', "at tacos is no list of image names"),
        (FOOD, '{"tacos": [1]}', "at tacos is no list of image names"),
        (FOOD, "{}", "has no row that counts"),
        (NESTED, '{"TOPS": ["a.jpg"]}', "at TOPS is no object keyed by item"),
        (NESTED, '{"TOPS": {"1": ["../a.jpg"]}}', "row 1: a path that leads out of its folder"),
        (COCO, coco(images=None), "has no list 'images'; is it the right file?"),
        (COCO, "[]", "has no list 'images'"),
        (COCO, coco(images=[{"id": 1}]), "'images' 1 has no file_name"),
        (
            COCO,
            coco(annotations=[{"image_id": 9, "category_id": 5}]),
            "annotation 1: image_id 9 is no image of the file",
        ),
        (COCO, coco(annotations=[{"image_id": 1, "category_id": 9}]), "annotation 1: category_id 9 is no category of"),
        (COCO, coco(annotations=[{"image_id": 1, "category_id": 5}]), "row 2: no label (image 'b.jpg')"),
        (COCO, coco(images=[{"id": 1, "file_name": "a.jpg"}] * 2), "'images' has the id 1 twice"),
        (COCO, coco(categories=[{"id": 5, "name": "a"}] * 2), "'categories' has the id 5 twice"),
    ],
)
def test_a_malformed_file_is_named_with_row_and_remedy(put: Put, table: Reader.Config, content: str | bytes, says: str):
    path = put("file.json", content)
    with pytest.raises(UsageError) as error:
        reader_of(table).rows(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "content", ["[]", '{"pair_id": 1}', '{"source": "shop", "pair_id": 1, "item1": {"style": "x"}}']
)
def test_a_file_that_is_no_annotation_of_deepfashion2_is_named(put: Put, content: str):
    path = put("annos/000001.json", content)
    table = Items.Config(file=("annos",), image="image/{number}.jpg", label="{label}", part="train")
    with pytest.raises(UsageError, match=r"annos/000001\.json is not an annotation of DeepFashion2"):
        reader_of(table).rows(path.parent)


def test_an_empty_folder_of_annotations_is_an_error(put: Put):
    path = put("annos/README", "")
    table = Items.Config(file=("annos",), image="image/{number}.jpg", label="{label}", part="train")
    with pytest.raises(UsageError, match=r"holds no \.json files"):
        reader_of(table).rows(path.parent)
