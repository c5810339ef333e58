"""The page in headless Chromium: what is clicked, dropped, pasted and typed does what it says."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from probe import Index
from probe.runs import RunDirectory
from tests.embed.conftest import World
from tests.report.browser import CHROMIUM, DRIVER, Page, browser
from tests.serve.conftest import HOSTILE
from tests.serve.server import Server, serving
from tests.serve.test_app import files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM.exists() and DRIVER.exists()), reason="needs chromium and chromium-driver"),
]
SHOTS = os.environ.get("SCREENSHOTS")  # a folder, to look at them

GIVE = """
const [name, kind, bytes] = arguments;
const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([content], name, { type: "image/jpeg" }));
document.body.dispatchEvent(kind === "paste"
  ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
  : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
"""
NOTHING = "return document.querySelector('#status').textContent.includes('choose one')"
FOUND = "return / hits? of .* ms\\.$/.test(document.querySelector('#status').textContent)"
IDS = "return [...document.querySelectorAll('#hits .id')].map((each) => each.textContent)"
LABELS = "return [...document.querySelectorAll('#hits .label:not(:has(*))')].map((each) => each.textContent)"
LOADED = "return [...document.images].every((image) => image.complete)"


@pytest.fixture(scope="module")
def server(described: Path) -> Iterator[Server]:
    with serving(described, "--threads", "2") as server:
        yield server


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(window: Page, server: Server) -> Iterator[Page]:
    window.visit(server.address)
    window.wait(NOTHING)
    yield window
    errors = [entry["message"] for entry in window.log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    assert {url.split("/")[2] for url in window.requested() if not url.startswith("blob:")} == {
        f"127.0.0.1:{server.port}"
    }
    assert "broken" not in window.run("return document.title")


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait(LOADED)
        page.screenshot(Path(SHOTS) / f"{name}.png")


def again(page: Page) -> None:
    """Waits for what comes of the next action."""
    page.run("document.querySelector('#status').textContent = ''")


def test_a_chosen_image_finds_itself_and_a_click_on_a_hit_searches_from_it(page: Page, index: Index):
    shoot(page, "start")
    assert len(page.run(IDS)) == len(index)
    file = files(index)[0]
    page.keys("#file", str(file))
    page.wait(FOUND)
    expected = index.search(file, 24, exclude_self=True).frame["id"].to_list()
    assert page.run(IDS) == expected
    shoot(page, "hits")
    again(page)
    page.click("#hits li:nth-child(3) button")
    page.wait(FOUND)
    from_hit = index.search(index.vectors(expected[2:3]), 24, exclude=[expected[2:3]]).frame["id"].to_list()
    assert page.run(IDS) == from_hit
    assert quote(expected[2].split("/")[0]) in page.run("return location.hash")
    again(page)
    page.run("history.back()")
    page.wait(NOTHING)


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_pasted_and_a_dropped_image_is_searched_for(page: Page, index: Index, kind: str):
    import base64

    file = files(index)[-1]
    page.run(GIVE, f"{HOSTILE}.jpg", kind, base64.b64encode(file.read_bytes()).decode())
    page.wait(FOUND)
    assert page.run(IDS) == index.search(file, 24, exclude_self=True).frame["id"].to_list()
    assert page.run("return document.querySelector('#asked-name').textContent") == f"{HOSTILE}.jpg"
    assert page.run("return document.querySelectorAll('#asked-name *, #hits .id *, #hits .label img').length") == 0


def test_a_box_that_is_drawn_searches_for_the_part(page: Page, index: Index):
    file = files(index)[1]
    page.keys("#file", str(file))
    page.wait(FOUND)
    page.wait(LOADED)
    again(page)
    x, y, width, height, across, down = page.run(
        "const image = document.querySelector('#preview'), area = image.getBoundingClientRect();"
        "return [area.left, area.top, area.width, area.height, image.naturalWidth, image.naturalHeight]"
    )

    def mouse(kind: str, right: float, below: float) -> None:
        where = {"x": x + right * width, "y": y + below * height}
        page.command("Input.dispatchMouseEvent", {"type": kind, "button": "left", "clickCount": 1, **where})

    mouse("mousePressed", 0.25, 0.25)
    mouse("mouseMoved", 0.5, 0.5)
    mouse("mouseReleased", 0.75, 0.75)
    page.wait(FOUND)
    shoot(page, "box")
    part = [int(page.run(f"return document.querySelector('#box-{side}').value")) for side in "xywh"]
    for value, whole, share in zip(part, (across, down) * 2, (0.25, 0.25, 0.5, 0.5), strict=True):
        assert value == pytest.approx(share * whole, abs=0.02 * whole + 2)
    from PIL import Image

    crop = Image.open(file).convert("RGB").crop((part[0], part[1], part[0] + part[2], part[1] + part[3]))
    own = f"photos/{file.parent.name}/{file.name}"
    vector = index.embedder.encode(crop)
    assert page.run(IDS) == index.search(vector, 24, exclude=[[own]]).frame["id"].to_list()
    again(page)
    page.click("#part summary")
    page.click("#whole")
    page.wait(FOUND)
    assert page.run(IDS) == index.search(file, 24, exclude_self=True).frame["id"].to_list()


def test_the_filter_leaves_rows_of_the_column_s_value(page: Page, index: Index):
    page.keys("#file", str(files(index)[-1]))
    page.wait(FOUND)
    again(page)
    page.click("#filter summary")
    page.keys("#value", HOSTILE)
    page.click("#add")
    page.wait(FOUND)
    assert len(page.run(IDS)) == (index.frame["label"] == HOSTILE).sum()
    assert set(page.run(LABELS)) == {HOSTILE}
    shoot(page, "filter")
    page.run("document.querySelector('#where').value = 'nonsense ='")
    page.click("#options button[type=submit]")
    page.wait("return !document.querySelector('#problem').hidden")
    assert "cannot be used" in page.run("return document.querySelector('#problem').textContent")
    shoot(page, "problem")
    page.log("browser")  # where the browser notes the answer's status


def test_failures_are_listed(page: Page, index: Index):
    page.click("nav a[href='#failures']")
    page.wait("return document.querySelector('#status').textContent.includes('failure')")
    from probe.serve.failures import find_failures

    wrong = find_failures(index)
    ids = page.run("return [...document.querySelectorAll('#failures .id')].map((each) => each.textContent)")
    assert ids == [row["id"] for pair in wrong.failures for row in pair]
    assert wrong.failures
    shoot(page, "failures")


def test_it_is_used_by_the_keyboard(page: Page):
    key = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "End": 35, "Home": 36, "Enter": 13, "Tab": 9}

    def press(name: str) -> None:
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            page.command(
                "Input.dispatchKeyEvent", {"type": kind, "key": name, "windowsVirtualKeyCode": key[name], **text}
            )

    focused = (
        "const items = [...document.querySelectorAll('#hits li')];"
        "return items.findIndex((item) => item.contains(document.activeElement))"
    )
    for _ in range(40):
        if page.run(focused) == 0:
            break
        press("Tab")
    assert page.run(focused) == 0
    columns = page.run(
        "const items = [...document.querySelectorAll('#hits li')];"
        "return items.filter((item) => item.offsetTop === items[0].offsetTop).length"
    )
    for name, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("Home", 0),
        ("End", 11),
    ):
        press(name)
        assert page.run(focused) == place, name
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    shoot(page, "keyboard")
    again(page)
    press("Enter")
    page.wait(FOUND)
    assert page.run("return document.activeElement.id") == "results"
    unnamed = page.run(
        "return [...document.querySelectorAll('button, input:not([hidden]), select, img:not([alt])')].filter((each) =>"
        " !(each.textContent.trim() || each.labels?.length || each.getAttribute('aria-label'))).map((e) => e.outerHTML)"
    )
    assert unnamed == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_goes_beyond_the_screen_and_colours_are_readable(page: Page, index: Index, dark: bool):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    page.command("Emulation.setEmulatedMedia", {"features": scheme})
    page.resize(390, 844)
    page.keys("#file", str(files(index)[0]))
    page.wait(FOUND)
    for view in ("search", "failures"):
        assert page.run("return document.documentElement.scrollWidth") <= 390
        small = page.run(
            "const buttons = [...document.querySelectorAll('main:not([hidden]) button')];"
            "return buttons.filter((button) => button.offsetParent && button.offsetHeight < 32).length"
        )
        assert small == 0
        shoot(page, f"phone-{view}-{'dark' if dark else 'light'}")
        page.run("document.querySelector('#results').scrollIntoView()")
        shoot(page, f"phone-{view}-below-{'dark' if dark else 'light'}")
        page.run("location.hash = 'failures'")
        page.wait("return document.querySelector('#status').textContent.includes('failure')")
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) == dark
    page.command("Emulation.setEmulatedMedia", {"features": []})
    page.resize(1440, 900)


def test_the_page_of_the_api_is_readable(page: Page, server: Server):
    page.visit(f"{server.address}api")
    assert "POST /api/search" in page.run("return document.body.textContent")
    shoot(page, "api")


def test_why_shows_the_parts_of_both_images(
    window: Page, run: RunDirectory, world: World, tmp_path: Path, described: Path, server: Server
):
    index = Index.create(tmp_path / "pocket.index", run.path, weights=world.weights, device="cpu")
    index.add(described.parent / "photos")
    with serving(index.path, "--weights", str(world.weights)) as own:
        window.visit(own.address)
        window.wait(NOTHING)
        window.click("#hits li:nth-child(3) button")
        window.wait(FOUND)
        window.click("#hits li:nth-child(1) .why")
        window.wait("return document.querySelector('#why').open")
        assert window.run("return document.querySelectorAll('#why canvas').length") == 2
        assert "sum of all" in window.run("return document.querySelector('#why-note').textContent")
        left_of_its_light = (
            "const mean = (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
            "  .reduce((sum, value, at) => (at % 4 === 3 ? sum : sum + value), 0);"
            "const [drawn] = document.querySelectorAll('#why canvas'), plain = document.createElement('canvas');"
            "[plain.width, plain.height] = [drawn.width, drawn.height];"
            "plain.getContext('2d').drawImage(document.querySelector('#preview'), 0, 0, plain.width, plain.height);"
            "return mean(drawn) / mean(plain)"
        )
        assert 0.15 < window.run(left_of_its_light) < 0.85  # parts are darkened, and not all of it
        shoot(window, "why")
        window.resize(390, 844)
        assert window.run("return document.querySelector('#why').getBoundingClientRect().right") <= 390
        shoot(window, "phone-why")
        window.click("#why button")
        assert not [entry for entry in window.log("browser") if entry["level"] == "SEVERE"]
    window.visit(server.address)
    window.wait(NOTHING)
    window.click("#hits li:nth-child(1) button")
    window.wait(FOUND)
    window.click("#hits li:nth-child(1) .why")
    window.wait("return !document.querySelector('#problem').hidden")
    assert "gives no features by position" in window.run("return document.querySelector('#problem').textContent")
    window.log("browser")
    window.requested()
