"""The report in headless Chromium, from the disk: no error, no request, and its tables and gallery do what they say."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from probe.recipes.display import Display
from probe.report.page.document import html
from probe.report.page.page import write_report
from probe.report.table import DIFFERENCES, build_table
from tests.report.browser import CHROMIUM, DRIVER, Page, browser
from tests.report.measured import DOMAINS, HOSTILE, Measured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM.is_file() and DRIVER.is_file()), reason="Debian's chromium and chromium-driver are not installed"
    ),
]

CHOOSE = """const select = document.querySelector(`#filters [name=${arguments[0]}]`);
const option = [...select.options].find((found) => found.textContent === arguments[1]);
select.value = option.value;
select.dispatchEvent(new Event('input', {bubbles: true}));"""
COUNT = "return document.getElementById('count').textContent"
CARDS = "return document.querySelectorAll('#queries > .query').length"
PICTURES = "return document.querySelectorAll('#queries .found li').length"
ROWS = "return [...document.querySelectorAll('.results tbody th')].map((cell) => cell.dataset.sort)"
KEYS = """const rows = [...document.querySelectorAll('.results tbody tr')];
return rows.map((row) => row.cells[arguments[0]].dataset.sort)"""


@pytest.fixture(scope="module")
def file(measured: Measured) -> Path:
    return write_report([measured.inventory], measured.folder / "seen.html", 1000, beside=False).path


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(window: Page, file: Path) -> Page:
    window.open(file)
    choose(window, "run", "Full, seed 0")
    return window


def choose(page: Page, name: str, text: str) -> None:
    page.run(CHOOSE, name, text)


def test_it_opens_from_the_disk_without_an_error_or_a_request(window: Page, file: Path):
    window.log("browser")
    window.requested()
    window.open(file)
    assert window.log("browser") == []
    assert window.requested() == [file.resolve().as_uri()]
    window.click("#pager [data-step='1']")
    assert window.log("browser") == []
    assert window.requested() == []


def test_pictures_beside_the_page_are_its_only_requests(window: Page, measured: Measured, tmp_path: Path):
    file = write_report([measured.inventory], tmp_path / "beside.html", 1000, beside=True).path
    window.log("browser")
    window.requested()
    window.open(file)
    window.run("document.querySelector('.found img').scrollIntoView()")  # pictures out of sight are not loaded
    window.wait("return document.querySelector('.found img').naturalWidth > 0")
    assert window.log("browser") == []
    first, *others = window.requested()
    assert first == file.as_uri()
    assert others
    assert all(url.startswith((tmp_path / "beside-pictures").as_uri()) for url in others)


def test_a_hostile_label_is_shown_as_it_is_written_and_does_nothing(page: Page):
    assert "measured" in page.run("return document.title")
    page.keys("#filters [name=text]", "</script>")
    labels = page.run("return [...document.querySelectorAll('.asked .label')].map((found) => found.textContent)")
    assert labels == [HOSTILE] * 4
    assert page.run("return document.querySelectorAll('img[src=x]').length") == 0


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(page: Page):
    as_written = page.run(ROWS)
    button = ".results thead tr:last-child th:nth-child(4) .sort"
    page.click(button)
    keys = [float(key) for key in page.run(KEYS, 3)]
    assert keys == sorted(keys, reverse=True)
    header = "return document.querySelector(arguments[0]).closest('th').getAttribute('aria-sort')"
    assert page.run(header, button) == "descending"
    page.keys(button, "\ue007")  # Enter
    keys = [float(key) for key in page.run(KEYS, 3)]
    assert keys == sorted(keys)
    assert page.run(header, button) == "ascending"
    page.click(".results thead tr:last-child th:first-child .sort")
    assert page.run(ROWS) == sorted(as_written)
    assert page.run("return document.querySelectorAll('.results [aria-sort=ascending]').length") == 1


def test_differences_of_rows_stay_below_the_rows_however_these_are_sorted(
    window: Page, measured: Measured, tmp_path: Path
):
    table = build_table(measured.inventory)
    below = replace(table.rows[0], name="One over the other", group=DIFFERENCES, marked=False, is_difference=True)
    alone = tmp_path / "differences.html"
    alone.write_text(html(replace(table, differences=[below])), encoding="utf-8")
    window.open(alone)
    for _ in range(2):
        window.click(".results thead tr:last-child th:nth-child(4) .sort")
        assert window.run(ROWS)[-1] == "One over the other"
        heading = "return document.querySelector('.differences .heading').checkVisibility()"
        assert window.run(heading)


def test_what_stands_out_has_its_colour_in_the_light_and_in_the_dark(window: Page, measured: Measured, tmp_path: Path):
    table = build_table(measured.inventory)
    recipe = replace(table.recipe, display=Display(metrics=("mMP@5",), mark=("best", "worst")))
    alone = tmp_path / "marks.html"
    alone.write_text(html(replace(table, recipe=recipe)), encoding="utf-8")
    window.open(alone)
    colour = "return getComputedStyle(document.querySelector('td.worst > span')).color"
    window.run("document.documentElement.dataset.theme = 'light'")
    light = window.run(colour)
    window.run("document.documentElement.dataset.theme = 'dark'")
    assert (light, window.run(colour)) == ("rgb(179, 21, 43)", "rgb(255, 143, 143)")


def test_a_table_alone_opens_without_an_error_or_a_request_and_is_sorted(
    window: Page, measured: Measured, tmp_path: Path
):
    alone = tmp_path / "table.html"
    alone.write_text(html(build_table(measured.inventory)), encoding="utf-8")
    window.log("browser")
    window.requested()
    window.open(alone, 390, 844)
    assert window.run("return document.documentElement.scrollWidth") == 390
    window.click(".results thead tr:last-child th:nth-child(4) .sort")
    keys = [float(key) for key in window.run(KEYS, 3)]
    assert keys == sorted(keys, reverse=True)
    assert window.log("browser") == []
    assert window.requested() == [alone.as_uri()]


def test_the_seeds_of_a_row_lead_to_its_configuration(page: Page, measured: Measured):
    page.click(".results tbody tr:nth-child(2) td:nth-child(3) a")
    opened = "return document.querySelector(location.hash).closest('details.runs').open"
    assert page.run(opened)
    assert page.run("return document.querySelector(location.hash).querySelector('summary').textContent").startswith(
        "Random <i>, seed 0"
    )


def test_rows_without_a_value_stay_last_in_both_directions(page: Page):
    button = ".results thead tr:last-child th:nth-child(5) .sort"  # what is printed: of one row
    for _ in range(2):
        page.click(button)
        assert [key != "" for key in page.run(KEYS, 4)] == [True, False, False]


def test_the_metric_of_a_table_is_chosen(page: Page):
    shown = (
        "return [...document.querySelectorAll('.results thead [data-kind=measured]')].filter((c) => !c.hidden).length"
    )
    assert page.run(shown) == 1 + len(DOMAINS)
    page.click("input[type=radio][value='']")
    assert page.run(shown) == 2 * (1 + len(DOMAINS))
    page.click(".with-printed")
    assert page.run(
        "return [...document.querySelectorAll('.results [data-kind=printed]')].every((cell) => cell.hidden)"
    )


def test_the_gallery_is_filtered_by_domain_failure_and_text(page: Page, measured: Measured):
    frame = pl.read_parquet(measured.inventory.runs_of["Full"][0].path / "per_query.parquet")
    assert page.run(COUNT) == f"{measured.queries} of {measured.queries} queries"
    assert page.run(CARDS) == 20  # a page
    choose(page, "domain", DOMAINS[1])
    of_domain = frame.filter(pl.col("domain") == DOMAINS[1])
    assert page.run(CARDS) == len(of_domain)
    assert page.run(PICTURES) == 5 * len(of_domain)
    choose(page, "show", "R@1 = 0")
    wrong = of_domain.filter(pl.col("R@1") == 0)
    assert 0 < len(wrong) < len(of_domain)
    assert page.run(CARDS) == len(wrong)
    assert page.run(COUNT) == f"{len(wrong)} of {measured.queries} queries"
    assert page.run("return document.querySelectorAll('.found li:first-child.miss').length") == len(wrong)
    choose(page, "show", "mMP@5 < 1")
    assert page.run(CARDS) == len(of_domain.filter(pl.col("mMP@5") < 1))
    choose(page, "show", "all queries")
    page.keys("#filters [name=text]", "1/7/2")
    assert page.run(CARDS) == 1
    assert page.run("return document.querySelector('.asked .about').textContent").endswith("1/7/2.jpg")


def test_the_gallery_opens_on_the_best_trained_row(window: Page, file: Path):
    window.open(file)
    selected = "const { run } = document.getElementById('filters').elements; return run.selectedOptions[0].textContent"
    assert window.run(selected) == "Dynamic, seed 0"  # the only one; Full is better


def test_intervals_and_p_are_shown_when_they_are_asked_for_and_the_legend_names_the_metric_that_is_shown(page: Page):
    shown = (
        "return [...document.querySelectorAll('.sure')].filter((part) => !part.hidden).map((part) => part.innerText)"
    )
    legend = "return document.querySelector('.results caption .visible').textContent"
    assert page.run(shown) == []
    page.click(".with-intervals")
    texts = page.run(shown)
    assert sum("p = " in text or "p < " in text for text in texts) == 4, "two of three rows, in two metrics"
    assert sum("the best" in text for text in texts) == 2
    assert all(re.match(r"\n?\d+\.\d–\d+\.\d", text) for text in texts if text)
    assert " mMP@5 in %" in page.run(legend)
    page.click("input[type=radio][value='R@1']")
    assert " R@1 in %" in page.run(legend)
    page.click("input[type=radio][value='']")
    assert "mMP@5 / R@1 in %" in page.run(legend)


def test_p_against_any_row_is_shown_when_it_is_chosen(page: Page):
    shown = """const cells = [...document.querySelectorAll("[data-against]")];
    return Object.fromEntries(cells.map((p) => [p.closest("tr").cells[0].dataset.sort, p.textContent]))"""
    hidden = "return document.querySelector('.against').closest('label').hidden"
    assert page.run(hidden)
    page.click(".with-intervals")
    assert not page.run(hidden)
    before = page.run(shown)
    choice = """const select = document.querySelector(".against");
    select.value = [...select.options].find((each) => each.text === arguments[0]).value;
    select.dispatchEvent(new Event("change", { bubbles: true }))"""
    page.run(choice, "Dynamic")
    against = page.run(shown)
    assert against["Dynamic"] == "–"
    assert re.fullmatch(r"p [<=] [01]\.\d{3}", against["Full"])
    page.run(choice, "the best")
    assert page.run(shown) == before


@pytest.mark.parametrize(("width", "goes_on"), [(390, True), (1920, False)])
def test_on_a_phone_a_table_says_that_it_goes_on_and_keeps_its_arrows(
    window: Page, file: Path, width: int, goes_on: bool
):
    window.open(file, width, 844)
    assert window.run("return !document.querySelector('.hint').hidden") == goes_on
    arrow = "return getComputedStyle(document.querySelector('.results .sort'), '::after').content"
    assert window.run(arrow) == '"↕"'
    main, table = window.run(
        "return ['main', '.results'].map((each) => document.querySelector(each).getBoundingClientRect().width)"
    )
    assert table >= main - 120  # the padding


def test_the_values_of_the_queries_that_are_shown_can_be_downloaded(page: Page, measured: Measured):
    frame = pl.read_parquet(measured.inventory.runs_of["Full"][0].path / "per_query.parquet")
    page.run(
        """const made = URL.createObjectURL;
        URL.createObjectURL = (blob) => {
          blob.text().then((text) => { window.csv = text; });
          return made.call(URL, blob);
        };"""
    )
    page.click("#download")
    page.wait("return Boolean(window.csv)")
    written = pl.read_csv(io.StringIO(page.run("return window.csv")))
    assert written["image"].to_list() == frame["image"].to_list()
    assert written["Full, seed 0: mMP@5"].to_list() == pytest.approx(frame["mMP@5"].to_list(), abs=1e-4)
    table = page.run("return document.querySelector('.download a').href")
    assert table.startswith("data:text/csv")
    assert base64.b64decode(table.partition("base64,")[2]).decode().startswith("group,row,column,metric")


def test_right_and_wrong_are_told_by_a_sign_and_in_words(page: Page):
    marks = page.run(
        """const text = (item, part) => item.querySelector(part).textContent;
        return [...document.querySelectorAll('.found li')].map((item) =>
        [item.className, text(item, '.mark'), text(item, ':scope > .unseen')])"""
    )
    assert {("hit" in name, mark, "right" in words) for name, mark, words in marks} == {
        (True, "✓", True),
        (False, "✗", False),
    }


def test_two_runs_stand_side_by_side(page: Page):
    choose(page, "other", "Dynamic, seed 0")
    headings = page.run(
        "return [...document.querySelector('.query').querySelectorAll('h4 strong')].map((h) => h.textContent)"
    )
    assert headings == ["Full, seed 0", "Dynamic, seed 0"]
    assert page.run(PICTURES) == 20 * 2 * 5
    choose(page, "order", "largest difference in mMP@5 first")
    scores = page.run(
        """return [...document.querySelectorAll('.query')].map((card) =>
        [...card.querySelectorAll('.sides h4')].map((h) => Number(h.textContent.match(/mMP@5 (\\d+)/)[1])))"""
    )
    gaps = [abs(first - second) for first, second in scores]
    assert gaps == sorted(gaps, reverse=True)
    choose(page, "show", "first run better (mMP@5)")
    assert page.run(CARDS) > 0
    sides = page.run(
        """return [...document.querySelectorAll('.query')].map((card) =>
        [...card.querySelectorAll('.sides h4')].map((h) => Number(h.textContent.match(/mMP@5 (\\d+)/)[1])))"""
    )
    assert all(first > second for first, second in sides)


def test_pictures_that_are_gone_have_a_placeholder(page: Page):
    page.keys("#filters [name=text]", "0/6/0")
    assert page.run("return document.querySelector('.asked .absent').textContent").startswith("no picture")


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_no_width_makes_the_page_scroll_sideways(window: Page, file: Path, width: int):
    window.open(file, width, 844)
    choose(window, "run", "Full, seed 0")
    choose(window, "other", "Dynamic, seed 0")
    assert window.run("return document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_aa_asks_for(window: Page, file: Path, scheme: str):
    window.open(file)
    window.run(
        "const theme = document.getElementById('theme'); theme.value = arguments[0];"
        "theme.dispatchEvent(new Event('change'))",
        scheme,
    )
    colours = window.run(
        """const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(arguments[0].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]))""",
        ["page", "surface", "warn", "best", "ink", "soft", "accent", "good", "bad", "field"],
    )
    for ground in ("page", "surface", "warn", "best"):
        for text in ("ink", "soft", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("good", "bad"):
        assert contrast(colours[mark], colours["page"]) >= 4.5, mark
    assert contrast(colours["field"], colours["page"]) >= 3  # borders of controls
    assert window.run("return getComputedStyle(document.body).color") == rgb(colours["ink"])


def test_every_control_has_a_name_and_every_picture_a_text(page: Page):
    nodes = page.command("Accessibility.getFullAXTree", {})["nodes"]
    named = {"button", "combobox", "searchbox", "radio", "checkbox", "image", "img", "link", "table", "region"}
    found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in named]
    assert len(found) > 50
    nameless = [node["role"]["value"] for node in found if not node.get("name", {}).get("value")]
    assert nameless == []


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two #rrggbb."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"
