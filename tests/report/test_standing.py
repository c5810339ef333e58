"""What stands out in a table: what the recipe names, among the measured and among the printed values, ties included."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from probe.planning.inventory import Inventory
from probe.recipes.display import Display, format_value
from probe.recipes.recipe import read_recipe
from probe.report.page.document import html
from probe.report.page.grid import build_grid
from probe.report.render.entries import legend
from probe.report.render.latex import latex
from probe.report.render.markdown import markdown
from probe.report.render.standing import standing_of
from probe.report.render.terminal import show
from probe.report.significance import Significance
from probe.report.table import Table, TableRow, build_table
from probe.workspace import Workspace
from tests.conftest import examples
from tests.report.test_render import row_of, table_of
from tests.report.test_table import csv_line

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
MARKS = ("best", "worst", "best of Universal models")


def marked(rows: list[TableRow], *mark: str, **values) -> Table:
    table = table_of(rows, **values)
    return replace(table, recipe=replace(table.recipe, display=Display(metrics=("mMP@5",), mark=mark)))


def in_group(group: str, *rows: TableRow) -> list[TableRow]:
    return [replace(row, group=group) for row in rows]


def standings(table: Table, side) -> dict[str, tuple[str, ...]]:
    return {row.name: standing_of(table, row, "cars", "mMP@5", side) for row in table.rows}


def test_the_best_the_worst_and_the_best_of_a_group_stand_out_in_every_column():
    rows = [row_of("low", 10.0), *in_group("Universal models", row_of("mid", 20.0), row_of("up", 30.0))]
    table = marked([*rows, row_of("high", 40.0), row_of("nothing", None)], *MARKS)
    assert standings(table, "measured") == {
        "low": ("worst",), "mid": (), "up": ("best of group",), "high": ("best",), "nothing": (),
    }  # fmt: skip


def test_one_value_may_be_the_best_of_all_and_of_its_group():
    table = marked([row_of("low", 10.0), *in_group("Universal models", row_of("high", 40.0))], *MARKS)
    assert standings(table, "measured")["high"] == ("best", "best of group")


def test_printed_values_compete_among_themselves():
    table = marked([row_of("a", 10.0, 60.0), row_of("b", 20.0, 50.0), row_of("c", None, 55.0)], "best", "worst")
    assert standings(table, "measured") == {"a": ("worst",), "b": ("best",), "c": ()}
    assert standings(table, "printed") == {"a": ("best",), "b": ("worst",), "c": ()}


def test_values_that_read_alike_stand_alike():
    table = marked([row_of("a", 40.01), row_of("b", 39.98), row_of("c", 39.94)], "best", "worst")
    assert standings(table, "measured") == {"a": ("best",), "b": ("best",), "c": ("worst",)}


def test_where_all_read_alike_none_is_the_worst():
    assert standings(marked([row_of("a", 40.0), row_of("b", 40.0)], "best", "worst"), "measured") == {
        "a": ("best",),
        "b": ("best",),
    }


def test_a_row_that_is_not_marked_neither_stands_out_nor_keeps_another_from_it():
    rows = [replace(row_of("768-D", 90.0, 90.0), marked=False), row_of("64-D", 50.0, 40.0), row_of("other", 30.0)]
    table = marked(rows, "best")
    assert standings(table, "measured") == {"768-D": (), "64-D": ("best",), "other": ()}
    assert standings(table, "printed") == {"768-D": (), "64-D": ("best",), "other": ()}
    assert "without 768-D: bold: the best" in legend(table)


def test_without_marks_the_best_measured_means_stand_out_alone():
    table = table_of([row_of("a", 10.0, 60.0), row_of("b", 20.0, 50.0)])
    assert [standing_of(table, row, "Mean", "mMP@5", "measured") for row in table.rows] == [(), ("best",)]
    assert [standing_of(table, row, "Mean", "mMP@5", "printed") for row in table.rows] == [(), ()]
    assert not any(standings(table, "measured").values())


value = st.none() | st.floats(0, 100) | st.sampled_from([50.0, 50.04, 49.96])


@examples(40, 1000)
@given(st.lists(st.tuples(value, value, st.sampled_from(["", "Universal models"]), st.booleans()), max_size=6))
def test_they_are_those_of_the_texts_that_a_reader_sees(drawn):
    rows = [
        replace(row_of(f"row {number}", measured, printed), group=group, marked=competes)
        for number, (measured, printed, group, competes) in enumerate(drawn)
    ]
    table = marked(rows, *MARKS)
    for side, position in (("measured", 0), ("printed", 1)):
        values = [line[position] if line[3] else None for line in drawn]
        texts = [None if value is None else format_value("mMP@5", value) for value in values]
        shown = [float(text) for text in texts if text]
        of_group = [float(text) for text, line in zip(texts, drawn, strict=True) if text and line[2]]
        expected = {}
        for row, text in zip(rows, texts, strict=True):
            found = []
            if text and all(float(text) >= other for other in shown):
                found.append("best")
            if text and row.group and all(float(text) >= other for other in of_group):
                found.append("best of group")
            if text and "best" not in found and all(float(text) <= other for other in shown):
                found.append("worst")
            expected[row.name] = tuple(found)
        assert standings(table, side) == expected


def of_every_kind() -> Table:
    rows = [*in_group("Universal models", row_of("tied", 60.5), row_of("blue", 60.6)), row_of("best", 61.0, 70.0)]
    found = {("Mean", "mMP@5"): Significance({}, {"tied"}, [])}
    return marked([*rows, row_of("worst", 40.0, 30.0)], *MARKS, significance=found)


def test_markdown_has_bold_and_a_symbol():
    text = markdown(of_every_kind())
    for part in ("**61.0**", "60.6 ▲", "40.0 ▼", "60.5 ≈", "**70.0**", "30.0 ▼"):
        assert f"| {part} |" in text
    assert "bold: the best; blue ▲: the best of Universal models; red ▼: the worst." in text
    assert "≈: no significant difference from the best measured mean" in text


def test_latex_has_the_papers_bold_and_colours_and_names_their_package():
    text = latex(of_every_kind())
    blue, red = r"\textcolor{blue}{60.6}", r"\textcolor{red}{40.0}"
    for part in (r"\textbf{61.0}", blue, red, r"60.5 $\approx$", r"\textbf{70.0}"):
        assert f"{part} &" in text
    assert r"% \usepackage{xcolor}" in text
    assert "▲" not in text
    assert "U+25" not in text
    assert "blue: the best of Universal models; red: the worst." in text
    assert "xcolor" not in latex(table_of([row_of("a", 10.0)]))


def test_the_csv_names_them():
    table = of_every_kind()
    lines = {row.name: csv_line(table, row.name, "Mean") for row in table.rows}
    assert {row: (line["standing"], line["printed_standing"]) for row, line in lines.items()} == {
        "tied": ("tied", ""), "blue": ("best of group", ""), "best": ("best", "best"), "worst": ("worst", "worst"),
    }  # fmt: skip


def test_a_terminal_has_bold_colour_and_symbol():
    console = Console(width=200, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    show(of_every_kind(), console)
    text = console.export_text(styles=True)
    assert re.search(r"\x1b\[1m61\.0\x1b\[0m", text)
    assert re.search(r"\x1b\[34m60\.6▲\x1b\[0m", text)
    assert re.search(r"\x1b\[31m40\.0▼\x1b\[0m", text)
    assert re.search(r"\x1b\[1m70\.0\x1b\[0m", text), "a printed value that stands out is not dim"


def test_the_page_has_classes_symbols_and_words_for_who_sees_neither():
    text = re.sub(r"\s+", " ", html(of_every_kind()))
    assert re.search(r'class="best"[^>]*><strong>61.0</strong><span class="unseen"> \(best\)', text)
    assert re.search(
        r'class="best-of-group"[^>]*><span>60.6</span> <span class="mark" title="best of its group">▲', text
    )
    assert re.search(r'class="worst"[^>]*><span>40.0</span> <span class="mark" title="worst">▼', text)
    assert build_grid(of_every_kind()).rows[2].cells[1].standing == ("best",)


@pytest.mark.parametrize(("name", "worst"), [("uned_table4", False), ("uned_supp_s1", False), ("uned_supp_s4", True)])
def test_the_papers_marks_are_the_extremes_of_its_own_columns(name: str, worst: bool, tmp_path: Path):
    """From the printed file itself: bold the best of 64-D, blue the best universal model, red the worst."""
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    table = build_table(Inventory(recipe, Workspace(tmp_path / "data", tmp_path / "features", tmp_path / "out")))
    assert recipe.reference
    with recipe.reference.path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if not line["row"].endswith("-D)")]
    expected: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for line in lines:
        same = [other for other in lines if (other["column"], other["metric"]) == (line["column"], line["metric"])]
        every = [float(other["value"]) for other in same]
        universal = [float(other["value"]) for other in same if other["group"] == "Universal models"]
        found = ["best"] if float(line["value"]) == max(every) else []
        if line["group"] == "Universal models" and float(line["value"]) == max(universal):
            found.append("best of group")
        if worst and float(line["value"]) == min(every):
            found.append("worst")
        expected[line["row"], line["column"], line["metric"]] = tuple(found)
    shown = {
        (str(row.relation.printed), column, metric): standing_of(table, row, column, metric, "printed")
        for row in table.rows
        for column in table.columns
        for metric in table.metrics(column)
    }
    assert {place: found for place, found in shown.items() if found} == {
        place: found for place, found in expected.items() if found
    }


def test_table_4_marks_what_the_paper_marks(tmp_path: Path):
    """A few cells, by hand: bold CLIP+Oracle on CARS196, blue and bold CLIP+UJCRR on InShop, two blue ones on Rp2k."""
    inventory = Inventory(read_recipe(RECIPES / "uned_table4.yaml"), Workspace(tmp_path, tmp_path, tmp_path))
    rows = {row.name: row for row in build_table(inventory).rows}
    table = build_table(inventory)
    found = {
        (row, column): standing_of(table, rows[row], column, "mMP@5", "printed")
        for row, column in [
            ("CLIP+Oracle", "CARS196"), ("CLIP+UJCRR", "CARS196"), ("CLIP+UJCRR", "InShop"), ("CLIP+UJCRR", "Mean"),
            ("CLIP+USCSS", "Mean"), ("IN+UJCRR", "Rp2k"), ("IN+USCRR", "Rp2k"), ("DINOv2 (768-D)", "iNat"),
        ]
    }  # fmt: skip
    assert list(found.values()) == [
        ("best",), ("best of group",), ("best", "best of group"), ("best of group",),
        ("best of group",), ("best", "best of group"), ("best", "best of group"), (),
    ]  # fmt: skip
