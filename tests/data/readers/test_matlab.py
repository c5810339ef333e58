"""Matlab files: struct arrays and cell arrays, and what is said of other files."""

import pytest

from probe.data.readers.base import Range, reader_of
from probe.data.readers.matlab import Matlab
from probe.errors import UsageError
from tests.data.published import cells, matlab, structs
from tests.data.readers.conftest import Put

CARS = Matlab.Config(file=("a.mat",), variable="annotations", image="{fname}", label="{class}", part="train")
WHOLE = matlab(annotations=structs({"class": 14, "fname": "1.jpg"}, {"class": 3, "fname": "2.jpg"}))


def test_fields_of_a_struct_array_are_columns(put: Put):
    assert reader_of(CARS).rows(put("a.mat", WHOLE)).select("image", "label").rows() == [
        ("1.jpg", "14"),
        ("2.jpg", "3"),
    ]


def test_rows_may_be_kept_by_a_range_of_classes(put: Put):
    table = CARS.model_copy(update={"keep": {"class": Range.model_validate({"from": 1, "to": 3})}})
    assert reader_of(table).rows(put("a.mat", WHOLE))["image"].to_list() == ["2.jpg"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"not a matlab file at all, but long enough to have a header of some sort" * 3,
            "cannot be read as a Matlab file",
        ),
        (b"", "cannot be read as a Matlab file"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read as a Matlab file"),
        (matlab(annotation=cells("x")), "no variable 'annotations'; did you mean 'annotation'?"),
        (matlab(annotations=structs({"class": 1, "name": "x"})), "no column 'fname'; did you mean 'name'?"),
        (
            matlab(annotations=structs({"class": 1.5, "fname": "x"})),
            "row 1: 'class' is 1.5, not text or a whole number",
        ),
        (matlab(annotations=structs({"class": [1, 2], "fname": "x"})), "row 1: 'class' is not one value"),
        (matlab(annotations=structs({"class": 1, "fname": "../x"})), "row 1: a path that leads out of its folder"),
    ],
)
def test_a_malformed_file_is_named_with_row_and_remedy(put: Put, content: bytes, says: str):
    path = put("a.mat", content)
    with pytest.raises(UsageError) as error:
        reader_of(CARS).rows(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
