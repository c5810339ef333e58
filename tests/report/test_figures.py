"""Figures: what is drawn is what was measured, the same runs give the same bytes, and names are text."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from probe.errors import UsageError
from probe.losses import CosineMargins
from probe.planning.inventory import Inventory
from probe.recipes.printed import PrintedValue
from probe.recipes.recipe import read_recipe
from probe.report.figures import curves, dimensions, examples, heatmap, margin_map, parameters
from probe.report.figures.examples import write_comparison
from probe.report.figures.figure import draw_figures, figure_kinds, write_figures
from probe.report.figures.style import COLOURS, house_style, inline, line_style, svg
from probe.report.table import build_table
from probe.runs import sweep
from tests.report.measured import DOMAINS, HOSTILE, Measured


@pytest.fixture(scope="module")
def written(measured: Measured) -> list[Path]:
    return write_figures(measured.inventory, measured.folder / "figures")


@pytest.mark.slow
def test_a_recipe_has_the_figures_that_its_runs_give(written: list[Path]):
    names = {path.name for path in written}
    kinds = ("heatmap", "curves", "margins", "examples", "collage")
    assert names == {f"small_{kind}.{suffix}" for kind in kinds for suffix in ("svg", "png", "pdf")}
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 200
        elif path.suffix == ".pdf":
            content = path.read_bytes()
            assert content.startswith(b"%PDF-")
            assert content.rstrip().endswith(b"%%EOF")
            assert b"/Type3" not in content
            assert b"/CreationDate" not in content
        else:
            ET.parse(path)


def test_the_kinds_are_found_in_their_files_and_have_names_and_positions_of_their_own():
    kinds = figure_kinds()
    assert [kind.name for kind in kinds] == [
        "parameters",
        "curves",
        "heatmap",
        "margins",
        "examples",
        "collage",
        "dimensions",
    ]
    assert len({kind.position for kind in kinds}) == len(kinds)


def test_the_same_runs_give_the_same_svg(measured: Measured, written: list[Path]):
    for drawn in draw_figures(measured.inventory, build_table(measured.inventory), photographs=False):
        path = measured.folder / "figures" / f"{drawn.name}.svg"
        assert drawn.svg == path.read_text()
        assert "<dc:date>" not in drawn.svg


def test_names_are_text_and_not_mathematics_or_markup(written: list[Path]):
    text = next(path for path in written if path.name == "small_heatmap.svg").read_text()
    found = {element.text for element in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}
    assert {*DOMAINS, "Random <i>"} <= found
    assert not any(HOSTILE in path.read_text() for path in written if path.suffix == ".svg")


def test_curves_are_the_histories(measured: Measured):
    [curve] = curves.curves(measured.inventory)
    runs = measured.inventory.runs_of["Dynamic"]
    assert curve.name == "Dynamic"
    for number, run in enumerate(runs):
        records = run.directory.history
        assert curve.loss[number].tolist() == [record.loss for record in records]
        assert curve.val[number].tolist() == [100 * record.val["mMP@5"] for record in records]


def test_the_heat_map_has_measured_and_printed_values(measured: Measured):
    table = build_table(measured.inventory)
    found = heatmap.heatmap_values(table)
    assert found.rows == ["Full", "Random <i>", "Dynamic"]
    assert found.measured.shape == found.printed.shape == (3, 2)
    assert found.measured[2, 1] == table.rows[2].cells[DOMAINS[1]]["mMP@5"].mean
    assert np.isfinite(found.printed).sum() == 1
    assert found.printed[0, 0] == 61.0


def test_rows_and_domains_of_which_nothing_is_known_are_not_in_the_heat_map(measured: Measured):
    table = build_table(measured.inventory)
    rows = [table.rows[0], replace(table.rows[1], cells={}), table.rows[2]]
    found = heatmap.heatmap_values(replace(table, rows=rows, domains=[DOMAINS[0], "elsewhere", DOMAINS[1]]))
    assert found.rows == ["Full", "Dynamic"]
    assert found.domains == list(DOMAINS)
    assert found.measured.shape == found.printed.shape == (2, 2)


@pytest.mark.slow
def test_many_learning_curves_have_a_panel_each(monkeypatch: pytest.MonkeyPatch, measured: Measured):
    lines = [curves.Curve(f"row {n}", np.ones((2, 3)), np.full((2, 3), n)) for n in range(curves.MOST_LINES + 1)]
    monkeypatch.setattr(curves, "curves", lambda _: lines)
    figure = curves.draw(measured.inventory, build_table(measured.inventory))
    assert figure
    named = [axes for axes in figure.axes if axes.get_title("left")]
    assert [axes.get_title("left") for axes in named] == [line.name for line in lines]
    for axes, line in zip(named, lines, strict=True):
        own = [drawn for drawn in axes.lines if drawn.get_color() == COLOURS[0]]
        assert [list(np.asarray(drawn.get_ydata())) for drawn in own] == [line.val[0].tolist()]
        assert len(axes.lines) == len(lines)


def test_text_on_every_cell_of_the_heat_map_can_be_read():
    for value in np.linspace(0, 1, 101):
        colour = to_rgba(colormaps["cividis"](float(value)))
        ink = to_rgba(heatmap.ink_on(colour))
        bright, dark = sorted((luminance(colour), luminance(ink)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour: tuple[float, float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_the_margin_map_falls_from_most_to_least(measured: Measured):
    figure = margin_map.draw(measured.inventory, build_table(measured.inventory))
    assert figure
    [line] = [line for axes in figure.axes for line in axes.lines]
    n, margins = (np.asarray(values) for values in line.get_data())
    shape = CosineMargins()
    share = (n - n.min()) / (n.max() - n.min())
    expected = shape.least + 0.5 * (shape.most - shape.least) * (1 + np.cos(np.pi * share))
    assert (n.min(), n.max()) == (4, 7)
    assert np.allclose(margins, expected, atol=1e-6)


def values_by_query(measured: Measured, row: str) -> dict[tuple[str, str], tuple[str, str, float]]:
    """Domain, class and mMP@5 of each query, from the first run's file."""
    frame = measured.inventory.runs_of[row][0].directory.per_query("merged")
    return {
        (source, image): (domain, label, value)
        for source, image, domain, label, value in frame["source", "image", "domain", "label", "mMP@5"].iter_rows()
    }


def test_examples_are_the_queries_on_which_one_row_is_better_and_then_the_other(measured: Measured):
    names = ("Dynamic", "Random <i>")
    both = examples.sides(measured.inventory, examples.chosen_rows(measured.inventory, names))
    assert [side.title for side in both] == ["Dynamic is better", "Random <i> is better"]
    first, second = (values_by_query(measured, name) for name in names)
    for side, (better, worse) in zip(both, ((first, second), (second, first)), strict=True):
        for domain, found in side.examples.items():
            gaps = {query: better[query][2] - worse[query][2] for query, (of, *_) in better.items() if of == domain}
            best_of_classes: dict[str, float] = {}
            for query, gap in gaps.items():
                label = better[query][1]
                best_of_classes[label] = max(gap, best_of_classes.get(label, 0))
            expected = sorted((gap for gap in best_of_classes.values() if gap > 0), reverse=True)[:4]
            assert [gaps[example.query] for example in found] == pytest.approx(expected)
            assert len({better[example.query][1] for example in found}) == len(found)


@pytest.mark.slow
def test_an_examples_neighbours_are_those_that_count_and_each_has_its_domain(measured: Measured):
    names = ("Full", "Dynamic")
    manifest = measured.inventory.manifest
    assert manifest
    images = manifest.frame["source", "image", "domain"]
    domains = {(source, image): domain for source, image, domain in images.iter_rows()}
    runs = [measured.inventory.runs_of[name][0].directory.per_query("merged") for name in names]
    for side in examples.sides(measured.inventory, examples.chosen_rows(measured.inventory, names)):
        for example in (example for of_domain in side.examples.values() for example in of_domain):
            for frame, retrieved in zip(runs, example.retrieved, strict=True):
                [row] = [row for row in frame.iter_rows(named=True) if (row["source"], row["image"]) == example.query]
                assert len(retrieved) == 3  # 4 images a class, less the query
                assert [found.image for found in retrieved] == [
                    *zip(row["neighbour_sources"][:3], row["neighbours"][:3], strict=True)
                ]
                assert [found.right for found in retrieved] == row["hits"][:3]
    written = write_comparison(measured.inventory, names, measured.folder / "compared")
    assert [path.name for path in written] == [
        f"small_examples_Full_Dynamic.{suffix}" for suffix in ("svg", "png", "pdf")
    ]
    elements = list(ET.parse(written[0]).iter("{http://www.w3.org/2000/svg}text"))
    shown = [str(element.text) for element in elements if "6px" in element.get("style", "")]
    drawn = [
        image
        for side in examples.sides(measured.inventory, examples.chosen_rows(measured.inventory, names))
        for of_domain in side.examples.values()
        for example in of_domain
        for image in (example.query, *(found.image for row in example.retrieved for found in row))
    ]
    assert sorted(shown) == sorted(domains[image] for image in drawn)
    assert {"Full is better", "Dynamic is better", "✓", "✗"} <= {element.text for element in elements}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("Full", "Dynamick"), "small.yaml has no row 'Dynamick'; did you mean 'Dynamic'?"),
        (("Full", "Full"), "'Full' is compared with itself; name two rows."),
    ],
)
def test_rows_that_cannot_be_compared_are_one_sentence(measured: Measured, names: tuple[str, str], says: str):
    with pytest.raises(UsageError, match=f"^--rows: .*{re.escape(says)}$"):
        write_comparison(measured.inventory, names, measured.folder / "compared")


def test_a_row_that_is_not_fitted_or_only_printed_has_nothing_to_compare(measured: Measured, tmp_path: Path):
    unfitted = Inventory(measured.inventory.recipe, replace(measured.inventory.workspace, out=tmp_path))
    with pytest.raises(UsageError, match=r"no seed of 'Full' is finished; `probe table .*` prints what to run"):
        write_comparison(unfitted, ("Full", "Dynamic"), tmp_path)
    rows = [replace(measured.inventory.recipe.rows[0], runs=[]), *measured.inventory.recipe.rows[1:]]
    printed = Inventory(replace(measured.inventory.recipe, rows=rows), measured.inventory.workspace)
    with pytest.raises(UsageError, match="'Full' is printed only"):
        write_comparison(printed, ("Full", "Dynamic"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_two_rows_never_differ_their_hardest_queries_are_shown(measured: Measured):
    row = measured.inventory.recipe.rows[0]
    [side] = examples.sides(measured.inventory, [row, row])
    assert side.title == ""
    values = values_by_query(measured, "Full")
    for domain, found in side.examples.items():
        lowest = min(value for of, _, value in values.values() if of == domain)
        assert values[found[0].query][2] == lowest


def test_printed_points_are_the_rows_that_have_a_printed_size_and_score(measured: Measured):
    table = build_table(measured.inventory)
    sizes = {
        "total parameters": PrintedValue(431e6, None, "431M"),
        "trainable parameters": PrintedValue(2.3e6, None, "2.3M"),
    }
    sized = replace(table.rows[0], printed={"Mean": {"mMP@5": PrintedValue(72.1, None)}, "model size": sizes})
    points = parameters.printed(replace(table, rows=[sized, sized, *table.rows[1:]]))
    assert points == [parameters.Point("As printed", 431e6, 2.3e6, 72.1)]


def test_a_bubbles_area_is_its_trained_parameters():
    points = [parameters.Point("a", 1e6, 1e5, 50.0), parameters.Point("b", 2e6, 4e5, 60.0)]
    figure = parameters.figure(points, [])
    drawn = [found for found in figure.axes[0].collections if isinstance(found, PathCollection)]
    first, second = (float(found.get_sizes()[0]) for found in drawn)
    assert second == pytest.approx(4 * first)


@pytest.mark.slow
def test_two_figures_on_one_page_share_no_id(measured: Measured):
    texts = [
        drawn.inline for drawn in draw_figures(measured.inventory, build_table(measured.inventory), photographs=False)
    ]
    ids = [found for text in texts for found in re.findall(r' id="([^"]+)"', text)]
    assert len(ids) == len(set(ids))
    for text in texts:
        used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', text))
        assert used <= set(re.findall(r' id="([^"]+)"', text))
        assert "<style" not in text


def test_ink_follows_the_page():
    with house_style():
        figure = Figure()
        figure.subplots().set_title("title")
    assert "fill: var(--ink)" in inline(svg(figure, "one"), "one")


def test_no_two_of_28_lines_look_alike():
    assert len({tuple(line_style(number).values()) for number in range(28)}) == 28


def test_without_runs_and_data_only_the_closed_form_of_the_margins_is_drawn(measured: Measured, tmp_path: Path):
    inventory = Inventory(
        measured.inventory.recipe, replace(measured.inventory.workspace, out=tmp_path, data_root=tmp_path)
    )
    [drawn] = draw_figures(inventory, build_table(inventory), photographs=True)
    assert drawn.kind.name == "margins"
    [line] = drawn.figure.axes[0].lines
    _, margins = (np.asarray(values) for values in line.get_data())
    assert (margins[0], margins[50], margins[100]) == pytest.approx((0.5, 0.35, 0.2))


def test_where_all_classes_are_of_one_size_the_margin_map_has_a_point(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(margin_map, "_class_sizes", lambda inventory: np.array([5, 5, 5]))
    figure = margin_map.draw(measured.inventory, build_table(measured.inventory))
    assert figure
    [line] = [line for axes in figure.axes for line in axes.lines]
    n, margins = (np.asarray(values) for values in line.get_data())
    assert (n.tolist(), line.get_marker()) == ([5], "o")
    assert margins == pytest.approx(CosineMargins().most)


LENGTHS = """
title: Lengths
data: small
defaults: {backbone: descriptor, seeds: [0]}
rows:
  - {name: Full, head: {kind: full-dimension}}
  - {name: Random, head: {kind: random-projection, dim: 2}}
  - {name: "Random, 4-d", head: {kind: random-projection, dim: 4}}
  - {name: "Random, 8-d", head: {kind: random-projection, dim: 8}}
  - {name: "Pooled, 8-d", head: {kind: average-pooling, dim: 8}}
"""


@pytest.mark.slow
def test_a_head_at_several_lengths_is_a_line_of_its_rows_and_the_features_are_one_across(measured: Measured):
    file = measured.folder / "lengths.yaml"

    def inventory(text: str) -> Inventory:
        file.write_text(text)
        found = Inventory(read_recipe(file), measured.inventory.workspace)
        sweep(found.runs(), "cpu")
        return found

    three = inventory(LENGTHS)
    assert dimensions.draw(three, build_table(three)) is None
    four = inventory(LENGTHS + '  - {name: "Random, 16-d", head: {kind: random-projection, dim: 16}}\n')
    table = build_table(four)
    values = {row.name: row.cell("Mean", "mMP@5").mean for row in table.rows}  # type: ignore[union-attr]
    random, full = dimensions.lines(four, table)
    assert (random.name, random.whole, full.name, full.whole) == ("Random", False, "Full", True)
    assert random.points == {
        2: values["Random"], 4: values["Random, 4-d"], 8: values["Random, 8-d"], 16: values["Random, 16-d"],
    }  # fmt: skip
    drawn = dimensions.draw(four, table)
    assert drawn is not None
    line, across = drawn.axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == list(random.points.values())
    assert set(np.asarray(across.get_ydata())) == {values["Full"]}
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == ["2", "4", "8", "16"]
