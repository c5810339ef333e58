"""The papers' tables: printed as the references have them, counted from data sets in their published formats."""

import csv
from pathlib import Path

import polars as pl
import pytest

from probe.data.dataset import find_dataset
from probe.data.manifest import COLUMNS, Manifest
from probe.data.resolve import known_data
from probe.data.statistics import StatisticsTable, agrees, class_sizes, measured_tables, printed_tables
from tests.data.published import PUBLISHED

REFERENCE = Path(__file__).resolve().parents[2] / "recipes" / "reference"
UNED = [part.name for part in find_dataset("uned").parts]


def reference(table: str) -> list[list[str]]:
    with (REFERENCE / f"{table}.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def measured(data_root: Path) -> dict[str, StatisticsTable]:
    return {table.printed.title: table for table in measured_tables(lambda name: known_data(name, data_root))}


@pytest.mark.parametrize("title", ["UnED Table 1", "UnED Table 2", "UnED Table 3", "UniFEx Table 1", "UniFEx Table 2"])
def test_what_is_printed_is_what_the_references_have(title: str):
    [table] = [table for table in printed_tables() if table.title == title]
    rows = reference(title.lower().replace(" ", "_").replace("_table_", "_table"))
    assert len(table.rows) == len(rows)
    for row, cells in zip(table.rows, rows, strict=True):
        assert row.name in cells
        assert {str(value) for value in row.printed} <= {cell.split("(")[0] for cell in cells}


def test_the_catalogues_counts_are_those_of_the_tables():
    roles = {"train": 0, "query": 0, "index": 2}
    printed = {
        (row.data, row.split): row.printed
        for table in printed_tables()
        if table.title in ("UnED Table 2", "UnED Table 3")
        for row in table.rows
    }
    for name in UNED:
        for count in find_dataset(name).counts:
            at = roles[count.role]
            assert printed[name, count.split][at : at + 2] == (count.images, count.classes)


def test_nothing_is_found_in_an_empty_folder(tmp_path: Path):
    states = {row.state for table in measured(tmp_path).values() for row in table.rows}
    assert states == {"not found", "never released"}


def test_every_table_of_uned_is_counted_from_its_info_files(tmp_path: Path):
    for name in UNED:
        PUBLISHED[name].write(tmp_path)
    tables = measured(tmp_path)
    train = {row.printed.name: row.measured for row in tables["UnED Table 2"].rows}
    assert train["Met"] == {"images": 2, "classes": 2}
    assert train["Total"] == {"images": 9, "classes": 9}
    test = {(row.printed.name, row.printed.split): row.measured for row in tables["UnED Table 3"].rows}
    assert list((test["Met", "test"] or {}).values()) == [1, 1, 2, 2, "no", "no"]
    assert list((test["SOP", "val"] or {}).values()) == [1, 1, 1, 1, "yes", "yes"]
    rows = [row for name in UNED for row in PUBLISHED[name].rows]
    [uned] = [row.measured for row in tables["UnED Table 1"].rows if row.printed.name == "UnED"]
    assert uned is not None
    assert (uned["domains"], uned["images"]) == (8, len({(source, image) for image, source, *_ in rows}))


def test_a_part_of_uned_is_counted_and_its_total_is_not(tmp_path: Path):
    PUBLISHED["uned-met"].write(tmp_path)
    rows = {row.printed.name: row for row in measured(tmp_path)["UnED Table 2"].rows}
    assert (rows["Met"].state, rows["SOP"].state) == ("found", "not found")
    assert (rows["Total"].state, rows["Total"].measured) == ("1 of 8 found", None)


def test_a_faulty_file_stops_no_other_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("uned-met", "uned-sop"):
        PUBLISHED[name].write(tmp_path)
    (tmp_path / "info_files" / "sop" / "val.json").write_text("[{")
    rows = {row.printed.name: row.state for row in measured(tmp_path)["UnED Table 2"].rows}
    assert (rows["Met"], rows["SOP"]) == ("found", "faulty")
    assert "uned-sop cannot be counted" in capsys.readouterr().err


def test_classes_that_are_partly_unseen_are_told_from_those_that_are_not(tmp_path: Path):
    rows = [("a", "s", "1", "gldv2", "train", "train"), ("b", "s", "1", "gldv2", "test", "query")]
    for more, expected in ((("c", "s", "2", "gldv2", "test", "query"), "partly"), (None, "no")):
        frame = pl.DataFrame([*rows, more] if more else rows, COLUMNS, orient="row")
        tables = measured_tables(lambda _, frame=frame: Manifest(frame))
        [unseen] = [
            row.measured["unseen classes"]
            for table in tables
            for row in table.rows
            if row.measured and table.printed.title == "UnED Table 3"
            and (row.printed.name, row.printed.split) == ("GLDv2", "test")
        ]  # fmt: skip
        assert unseen == expected


@pytest.mark.parametrize(
    ("found", "printed", "same"),
    [(472349, 472349, True), (472350, 472349, False), (141460, "141.5k", True), (4140989, "4.1M", True)],
)
def test_numbers_agree_when_they_round_to_what_is_printed(found: int, printed: int | str, same: bool):
    assert agrees(found, printed) is same


def test_class_sizes_count_different_images(tmp_path: Path):
    rows = [(f"{label}{i}", "s", label, "d", "train", "train") for label, n in (("a", 1), ("b", 4)) for i in range(n)]
    rows += [("q", "s", "c", "d", "test", "query"), ("q2", "s", "c", "d", "test", "index")]
    sizes = class_sizes(Manifest(pl.DataFrame(rows, COLUMNS, orient="row"))).to_dicts()
    assert [(row["split"], row["images"], row["classes"]) for row in sizes] == [("train", 5, 2), ("test", 2, 1)]
    assert [sizes[0][name] for name in ("least", "median", "most")] == [1, 2.5, 4]
