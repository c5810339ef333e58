"""The report: what the page holds is what the runs measured, and nothing that a user named can run in it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from probe.planning.machine import this_machine
from probe.recipes.display import Display
from probe.recipes.printed import PrintedValue
from probe.report.page.document import html
from probe.report.page.gallery import choose_queries, equal_shares, gallery_sets
from probe.report.page.grid import DIFFERENCE, PRINTED, build_grid
from probe.report.page.page import WrittenReport, as_json, write_report
from probe.report.render.entries import entry_of
from probe.report.table import Cell, build_table
from tests.report.measured import DOMAINS, HOSTILE, Measured


@pytest.fixture(scope="module")
def written(measured: Measured) -> WrittenReport:
    return write_report([measured.inventory], measured.folder / "report.html", 1000, beside=False)


@pytest.fixture(scope="module")
def text(written: WrittenReport) -> str:
    return written.path.read_text()


def data_in(text: str, name: str) -> list:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.slow
def test_the_gallery_holds_what_the_runs_found(measured: Measured, text: str):
    [entry] = data_in(text, "gallery-data")
    assert entry["domains"] == sorted(DOMAINS)
    assert [run["row"] for run in entry["runs"]] == ["Full", "Random <i>", "Dynamic"]
    for row, shown in zip(measured.inventory.recipe.rows, entry["runs"], strict=True):
        frame = pl.read_parquet(measured.inventory.runs_of[row.name][0].path / "per_query.parquet")
        assert len(frame) == len(entry["queries"]) == measured.queries
        for query, found, line in zip(entry["queries"], shown["found"], frame.iter_rows(named=True), strict=True):
            assert entry["images"][query[0]][0] == line["image"]
            assert query[2:] == [line["label"], line["n"]]
            assert [entry["images"][image][0] for image in found[0]] == line["neighbours"][:5]
            assert found[2] == [int(hit) for hit in line["hits"][:5]]
            assert np.allclose(found[1], line["similarities"][:5], atol=5e-4)
        assert shown["values"]["mMP@5"] == pytest.approx(frame["mMP@5"].to_list(), abs=1e-4)


def test_every_neighbour_has_its_label_and_domain(text: str):
    [entry] = data_in(text, "gallery-data")
    for image, label, domain in entry["images"]:
        d, c, _ = image.split("/")
        assert domain == DOMAINS[int(d)]
        assert label == (HOSTILE if (d, c) == ("0", "6") else f"class {d}{c}")


def test_each_image_is_in_the_page_once_and_what_is_gone_is_counted(
    measured: Measured, written: WrittenReport, text: str
):
    pictures = data_in(text, "pictures-0")
    assert len(pictures) == len(set(measured.images)) == written.thumbnails + written.absent
    assert written.absent == pictures.count("") == 2
    assert all(picture.startswith("data:image/webp;base64,") for picture in pictures if picture)
    assert "2 image(s) are not on disk or cannot be decoded" in text


@pytest.mark.slow
def test_pictures_can_lie_beside_the_page(measured: Measured, tmp_path: Path):
    written = write_report([measured.inventory], tmp_path / "page.html", 1000, beside=True)
    addresses = [address for address in data_in(written.path.read_text(), "pictures-0") if address]
    assert {tmp_path / address for address in addresses} == set((tmp_path / "page-pictures").iterdir())
    assert len(addresses) == written.thumbnails
    (tmp_path / "page-pictures" / "mine.webp").touch()
    write_report([measured.inventory], tmp_path / "page.html", 2, beside=True)
    left = {file.name for file in (tmp_path / "page-pictures").iterdir()}
    assert "mine.webp" in left
    assert 1 < len(left) < len(addresses)


def test_the_same_runs_give_the_same_bytes(measured: Measured, written: WrittenReport, tmp_path: Path):
    again = write_report([measured.inventory], tmp_path / "report.html", 1000, beside=False)
    assert again.path.read_bytes() == written.path.read_bytes()


def test_no_name_that_a_user_gave_becomes_markup(text: str):
    assert HOSTILE not in text
    assert "onerror=alert(1)>" not in text.replace("&gt;", "").replace("\\u003e", "")
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 3  # two of data, one that runs
    assert "<em>measured" not in text
    assert "<i>" not in text
    assert unescape("&lt;em&gt;measured") in unescape(text)


def test_json_ends_no_script_element():
    value = {"</script>": ["<!--", "&amp;", "\u2028", "ß"]}
    encoded = as_json(value)
    assert not set("<>&") & set(encoded)
    assert json.loads(encoded) == value


def test_the_page_names_nothing_on_the_network(text: str):
    without_names = text.replace("http://www.w3.org/", "")  # of namespaces
    assert not re.search(r"https?://|//cdn|@import|<link rel=\"stylesheet", without_names)
    assert "default-src 'none'; img-src data:;" in unescape(text)


def test_the_grid_holds_what_the_table_holds(measured: Measured):
    table = build_table(measured.inventory)
    grid = build_grid(table)
    for row, line in zip(table.rows, grid.rows, strict=True):
        for column, value in zip(grid.columns, line.cells, strict=True):
            entry = entry_of(table, row, column.group.domain, column.group.metric)
            assert entry.measured
            known = {PRINTED: entry.printed and entry.printed.value, DIFFERENCE: entry.difference}
            number = known.get(column.kind, entry.measured.mean)
            standing_of = {"measured": entry.standing, "printed": entry.printed_standing}
            assert value.key == ("" if number is None else f"{number:.6f}")
            assert value.standing == (standing_of.get(column.kind, ()))
    assert grid.groups[0].kinds == ["measured", PRINTED, DIFFERENCE]
    assert not any(PRINTED in group.kinds for group in grid.groups if group.domain == DOMAINS[1])
    assert grid.rows[0].cells[1].spread == "± 0.4"


def report_with(measured: Measured, folder: Path, **places: Path) -> str:
    """The page of the same recipe in a workspace of which some places are others."""
    inventory = measured.inventory
    elsewhere = type(inventory)(inventory.recipe, replace(inventory.workspace, **places))
    return write_report([elsewhere], folder / "r.html", 9, beside=False).path.read_text()


def test_rows_without_runs_stand_with_the_commands_that_make_them(measured: Measured, tmp_path: Path):
    text = report_with(measured, tmp_path, out=tmp_path)
    assert "0 of 5 runs finished" in text
    assert "probe fit" in text
    assert "gallery-data" not in text.split("<script>")[0]


def test_a_recipe_whose_data_is_absent_still_has_its_section(measured: Measured, tmp_path: Path):
    text = report_with(measured, tmp_path, data_root=tmp_path)
    assert "50.5" in text
    assert "probe extract small" in text


def test_where_nothing_is_measured_the_page_says_what_to_run_and_else_when_the_last_run_was(
    measured: Measured, text: str, tmp_path: Path
):
    nothing = "Nothing is measured here yet"
    empty = report_with(measured, tmp_path, out=tmp_path)
    assert nothing in empty
    assert "<code>probe table quickstart</code>" in empty
    assert "<time" not in empty
    assert nothing not in text
    day = max(run.path.stat().st_mtime for runs in measured.inventory.runs_of.values() for run in runs)
    assert f'<time datetime="{datetime.fromtimestamp(day, UTC).date()}">' in text


def test_the_overview_names_the_machine_of_its_times(measured: Measured, tmp_path: Path):
    inventory = measured.inventory
    elsewhere = type(inventory)(inventory.recipe, replace(inventory.workspace, out=tmp_path))
    text = write_report([elsewhere, elsewhere], tmp_path / "r.html", 9, beside=False).path.read_text()
    assert f"Time: estimate for everything that is missing, on {this_machine().name}." in text


def test_a_limit_takes_the_same_queries_in_whatever_order_they_come(measured: Measured):
    [found] = gallery_sets([measured.inventory], limit=7)
    assert len(found.queries) == 7
    assert sorted(found.queries.group_by("domain").len()["len"]) == [3, 4]
    [every] = gallery_sets([measured.inventory], limit=1000)
    backwards = choose_queries(every.queries.reverse(), 7)
    assert set(backwards["image"]) == set(found.queries["image"])
    assert "7 of 24 queries" in found.description
    assert all(len(side.retrieved) == 7 for side in found.runs)


def test_shares_are_as_equal_as_the_counts_allow():
    assert equal_shares({"a": 10, "b": 2, "c": 10}, 12) == {"a": 5, "b": 2, "c": 5}
    assert equal_shares({"a": 10, "b": 10, "c": 10}, 11) == {"a": 4, "b": 4, "c": 3}
    assert equal_shares({"a": 1, "b": 1}, 9) == {"a": 1, "b": 1}


def test_a_table_alone_is_one_page_that_holds_what_the_reports_table_holds(measured: Measured, text: str):
    table = build_table(measured.inventory)
    alone = html(table)
    assert alone == html(table)
    assert HOSTILE not in alone
    assert len(re.findall("<script", alone)) == 1
    assert "default-src 'none'; img-src data:;" in unescape(alone)

    def cells(page: str) -> list[str]:
        return re.findall(r"<td data-metric.*?</td>", page, re.DOTALL)

    assert cells(alone) == cells(text)
    assert len(cells(alone)) == len(table.rows) * len(build_grid(table).columns)


def test_counts_and_texts_have_no_best_and_all_are_shown(measured: Measured):
    table = build_table(measured.inventory)
    display = Display.model_construct(metrics=("images", "setting"))
    nan = float("nan")
    rows = [
        replace(
            row,
            cells={"GUIEC": {"images": Cell(316446.0, None), "setting": Cell(nan, None, "Adam")}},
            printed={"GUIEC": {"images": PrintedValue(316450.0, None), "setting": PrintedValue(nan, None, "Adam")}},
        )
        for row in table.rows
    ]
    of_counts = replace(table, recipe=replace(table.recipe, display=display), means=["GUIEC"], domains=[], rows=rows)
    grid = build_grid(of_counts)
    assert grid.selected_metric == ""
    for line in grid.rows:
        assert [value.text for value in line.cells] == ["316,446", "316,450", "Adam", "Adam"]
        assert [value.key for value in line.cells] == ["316446.000000", "316450.000000", "Adam", "Adam"]
        assert not any(value.standing for value in line.cells)
