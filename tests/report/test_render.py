"""The forms of a table: all tell the same numbers, and each is what its readers can read."""

import csv
import io
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from probe.errors import UsageError
from probe.planning.machine import find_machine
from probe.recipes.display import Display, format_value
from probe.recipes.printed import PrintedValue
from probe.recipes.recipe import Recipe
from probe.recipes.row import Compared, PrintedRelation
from probe.report.page.document import html
from probe.report.render.entries import difference_text, entry_of, has_difference
from probe.report.render.files import write_files
from probe.report.render.latex import escaped, latex
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.render.overview import show_overview
from probe.report.render.terminal import show
from probe.report.significance import Significance
from probe.report.table import Cell, Table, TableRow
from tests.conftest import examples

METRICS = ("mMP@5", "R@1")
COLUMNS: tuple[str, ...] = ("Mean", "cars", "food_2k")
NASTY = r"100% [a]*_b & {c} \d #1 $x$ ~^ <é> “q” 中"

percent = st.floats(0, 100)
deviation = st.none() | st.floats(0, 30)
names = st.text(alphabet="ab &%$#_{}[]*\\~^<>|é±≈", min_size=1, max_size=8).filter(lambda name: name.strip())


def table_of(rows: list[TableRow], **values) -> Table:
    recipe = Recipe(
        Path("some_table.yaml"), "A title: 100% & more", "", "small", [], None, {}, Display(metrics=METRICS)
    )
    return Table(recipe, ["Mean"], list(COLUMNS[1:]), rows, [], [], [], [], **values)


def row_of(name: str, measured: float | None, printed: float | None = None, compared: Compared = "exact") -> TableRow:
    """The same value everywhere."""
    because = None if compared == "exact" else "it is another"
    relation = (
        PrintedRelation() if printed is None else PrintedRelation(printed=name, compared=compared, because=because)
    )
    cell = {} if measured is None else {metric: Cell(measured, None) for metric in METRICS}
    print_of = {} if printed is None else {metric: PrintedValue(printed, None) for metric in METRICS}
    cells = dict.fromkeys(COLUMNS, cell) if cell else {}
    prints = dict.fromkeys(COLUMNS, print_of) if print_of else {}
    return TableRow(name, 64, int(measured is not None), 1, cells, prints, relation)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rows = []
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        cells = draw(st.dictionaries(st.sampled_from(COLUMNS), st.just(None), min_size=1))
        compared = draw(st.sampled_from(["exact", "linear-probe", "other-benchmark", None]))
        measured = {column: {m: Cell(draw(percent), draw(deviation)) for m in METRICS} for column in cells}
        printed = {column: {METRICS[0]: PrintedValue(draw(percent), draw(deviation))} for column in COLUMNS[:2]}
        because = "it is another" if compared not in (None, "exact") else None
        relation = PrintedRelation.model_validate(
            {"printed": name if compared else None, "compared": compared, "because": because}
        )
        rows.append(TableRow(name, 64, 3, 3, measured, printed if compared else {}, relation))
    return table_of(rows)


def lines_of(table: Table) -> list[list[str]]:
    """What every form has to say of each row: measured, printed, difference, column by column."""
    found = []
    for line in csv.DictReader(io.StringIO(long_csv(table))):
        for kind, std in (("measured", "std"), ("printed", "printed_std"), ("difference", "")):
            if line[kind]:
                text, spread = (
                    line[key] and format_value(line["metric"], float(line[key])) for key in (kind, std or kind)
                )
                if kind == "difference":
                    text = "0.0" if text in ("0.0", "-0.0") else f"{float(text):+.1f}"
                found.append([line["row"], kind, text, spread if std else ""])
    return sorted(found)


def markdown_cells(table: Table) -> list[list[str]]:
    body = [line for line in markdown(table).splitlines() if line.startswith("| ")][2:]
    return values_of(table, [[cell.strip() for cell in line[2:-2].split(" | ")] for line in body], lambda text: text)


def latex_cells(table: Table) -> list[list[str]]:
    body = latex(table).split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    lines = [re.split(r"(?<!\\)&", line.removesuffix(" \\\\")) for line in body]
    return values_of(table, [[cell.strip() for cell in line] for line in lines], plain)


def plain(text: str) -> str:
    text = re.sub(r"\\phantom\{[^{}]*\}", "", text)
    text = text.replace(r"$\pm$", "±").replace(r"$\approx$", "≈").replace(r"\textbf{", "").rstrip("}")
    return text.strip("$")


def values_of(table: Table, lines: list[list[str]], read) -> list[list[str]]:
    """The lines of a table, in which a row has one, two or three, as `lines_of` has them."""
    found, body = [], iter(lines)
    for row in table.rows:
        kinds = ["measured"] + ["printed"] * bool(row.printed) + ["difference"] * has_difference(table, row)
        for kind in kinds:
            for text in next(body)[3:]:
                value, _, std = read(text).strip("* ≈").partition(" ± ")
                found += [[row.name, kind, value, std]] if value not in ("", "-") else []
    assert next(body, None) is None
    return sorted(found)


@examples(15, 120)
@given(tables())
def test_every_form_tells_the_same_numbers(table: Table):
    expected = lines_of(table)
    assert markdown_cells(table) == expected
    assert latex_cells(table) == expected
    console = Console(width=1000, record=True, file=io.StringIO())
    show(table, console)
    text = console.export_text()
    numbers = re.findall(r"[+-]?\d+\.\d", text.split("┃")[-1].split("Test split")[0])
    assert {line[2] for line in expected} <= set(numbers)


def test_a_difference_is_measured_minus_printed_with_its_sign():
    rows = [row_of("above", 61.25, 60.0), row_of("below", 50.0, 60.0, "linear-probe"), row_of("equal", 60.0, 60.04)]
    table = table_of(rows)
    texts = [difference_text(entry_of(table, row, "Mean", "mMP@5")) for row in rows]
    assert texts == ["+1.2", "-10.0", "0.0"]


@pytest.mark.parametrize("compared", ["other-benchmark", "printed-only"])
def test_where_the_benchmark_is_another_there_is_no_difference(compared: Compared):
    row = row_of("row", 61.0, 60.0, compared)
    table = table_of([row])
    assert not has_difference(table, row)
    assert "measured - printed" not in markdown(table) + latex(table)


def test_the_best_is_bold_and_what_is_not_told_from_it_is_marked_in_every_form():
    found = {("Mean", "mMP@5"): Significance({}, {"tied"}, [])}
    table = table_of([row_of("best", 61.0), row_of("tied", 60.5), row_of("other", 40.0)], significance=found)
    assert "**61.0**" in markdown(table)
    assert "60.5 ≈" in markdown(table)
    assert r"\textbf{61.0}" in latex(table)
    assert r"60.5 $\approx$" in latex(table)
    lines = [line for line in csv.DictReader(io.StringIO(long_csv(table))) if line["column"] == "Mean"]
    standing = [line["standing"] for line in lines if line["metric"] == "mMP@5"]
    assert standing == ["best", "tied", ""]


@given(st.text(max_size=30))
@examples(30, 1000)
def test_escaped_text_has_no_character_that_latex_reads_as_its_own(text: str):
    found = escaped(text)
    bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[&%$#_{}]|\$[^$]*\$|\{[\[\]*]\}", "", found)
    assert not set(bare) & set('\\&%$#_^~{}<>"\n\r\0')
    assert all(character.isascii() or character.isalpha() for character in bare)


def test_latex_is_well_formed_whatever_the_names():
    table = table_of([row_of(NASTY, 61.0, 60.0), row_of("[x]", 50.0)])
    text = latex(replace(table, reasons=["one\nof two lines"], missing=["and % more"]))
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert "U+4E2D" in text
    bare = re.sub(r"\\[{}]", "", "\n".join(body))
    assert bare.count("{") == bare.count("}")
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)
    assert columns
    for line in (line for line in body if line.endswith(r"\\")):
        assert not line.startswith(("[", "*"))
        spans = [int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) == len(columns[1])
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]


def test_decimal_points_stand_below_each_other_in_latex() -> None:
    rows = [row_of("best", 61.0), row_of("tied", 60.5), row_of("seeds", 9.5)]
    rows[2] = replace(rows[2], cells={"Mean": {"mMP@5": Cell(9.5, 0.4)}})
    text = latex(table_of(rows, significance={("Mean", "mMP@5"): Significance({}, {"tied"}, [])}))
    cells = [line.split(" & ")[3] for line in text.splitlines() if line.startswith(("best", "tied", "seeds"))]
    assert cells == [
        r"\textbf{61.0}\phantom{ $\pm$ 0.4}\phantom{ $\approx$}",
        r"60.5\phantom{ $\pm$ 0.4} $\approx$",
        r"9.5 $\pm$ 0.4\phantom{ $\approx$}",
    ]


def test_chosen_columns_are_all_that_a_table_has() -> None:
    table = table_of([row_of("row", 61.0)])
    assert table.with_columns(["food_2k", "Mean"]).columns == ["Mean", "food_2k"]
    assert "cars" not in latex(table.with_columns(["Mean"]))
    with pytest.raises(UsageError, match=r"--columns car: some_table has no such column; did you mean 'cars'\?"):
        table.with_columns(["car"])


@pytest.mark.slow
@pytest.mark.skipif(which("pdflatex") is None, reason="pdflatex (Debian's texlive-latex-recommended) is not installed")
def test_latex_compiles_with_hostile_names_groups_and_marks(tmp_path: Path) -> None:
    groups = ["Off-the-shelf & co", "Off-the-shelf & co", "100% [own]"]
    rows = [
        replace(row_of(name, 61.0 - number, 60.0), group=group)
        for number, (name, group) in enumerate(zip([NASTY, "[x]", "tied"], groups, strict=True))
    ]
    table = table_of(rows, significance={("Mean", "mMP@5"): Significance({}, {"tied"}, [])})
    (tmp_path / "table.tex").write_text(latex(replace(table, notes=["a note & more"])), encoding="utf-8")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{xcolor}"
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF-")


def test_no_half_written_file_is_left(tmp_path: Path):
    files = write_files(table_of([row_of("row", 61.0)]), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_the_overview_has_a_line_for_each_table():
    begun = replace(table_of([row_of("a", 61.0), row_of("b", None)]), commands=["probe fit some_table.yaml"])
    absent = replace(table_of([row_of("a", None), row_of("b", None)]), missing=["no data 'small'"])
    console = Console(width=120, record=True, file=io.StringIO())
    show_overview([begun, absent, table_of([row_of("a", 61.0)])], find_machine("cpu"), 1, console)
    lines = [line.split() for line in console.export_text().splitlines() if "some_table" in line]
    assert ["1/2" in lines[0], "0/2" in lines[1], "1/1" in lines[2]] == [True] * 3
    assert [line[-1] for line in lines] == ["fit", "'small'", "complete"]


def test_rows_stand_below_the_names_of_their_groups_in_every_form():
    groups = ["Off-the-shelf", "Off-the-shelf", "Specialists & co", ""]
    rows = [replace(row_of(f"r{number}", 61.0), group=group) for number, group in enumerate(groups)]
    table = table_of(rows)
    console = Console(width=200, record=True, file=io.StringIO())
    show(table, console)
    forms = (console.export_text(), markdown(table), latex(table), html(table))
    names = ("Specialists & co", "Specialists & co", r"Specialists \& co", "Specialists &amp; co")
    for form, name in zip(forms, names, strict=True):
        assert form.count("Off-the-shelf") == form.count(name) == 1
        order = [form.index(text) for text in ("Off-the-shelf", "r0", "r1", name, "r2")]
        assert order == sorted(order)
    assert [line["group"] for line in csv.DictReader(io.StringIO(long_csv(table)))][::6] == groups


def test_a_table_of_one_group_has_no_headings():
    table = table_of([replace(row_of(name, 61.0), group="All of them") for name in "ab"])
    assert "All of them" not in markdown(table) + latex(table)
