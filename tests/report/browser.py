"""Headless Chromium, driven over WebDriver's HTTP protocol on the loopback: nothing to install but Debian's packages
chromium and chromium-driver.

with browser(folder) as page:
    page.open(Path("report.html"))
    page.run("return document.title")
"""

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",  # nothing moves away below a click
]
SECONDS = 300  # for an answer, on a machine under load too; how long anything takes is not tested


@dataclass(frozen=True)
class Page:
    """One window."""

    session: str

    def open(self, file: Path, width: int = 1440, height: int = 900) -> None:
        """Loads a file; its script has then run."""
        self.resize(width, height)
        self._ask("POST", "url", {"url": file.resolve().as_uri()})

    def visit(self, address: str, width: int = 1440, height: int = 900) -> None:
        """Loads a page of a server."""
        self.resize(width, height)
        self._ask("POST", "url", {"url": address})

    def blank(self) -> None:
        """Leaves the browser's own start page, and what it asked for."""
        self._ask("POST", "url", {"url": "about:blank"})
        self.log("performance")

    def resize(self, width: int, height: int) -> None:
        """The viewport, also narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the script returns; `arguments` are in its `arguments`."""
        return self._ask("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str) -> None:
        """Until the script returns something true."""
        code = (
            f"const [done] = arguments; const look = () => (() => {{ {condition} }})() ? done() : setTimeout(look, 5);"
        )
        self._ask("POST", "execute/async", {"script": code + " look();", "args": []})

    def click(self, selector: str) -> None:
        """A real click, which fails where something covers the element."""
        found = self._ask("POST", "element", {"using": "css selector", "value": selector})
        self._ask("POST", f"element/{next(iter(found.values()))}/click", {})

    def keys(self, selector: str, text: str) -> None:
        """Typed into the element."""
        found = self._ask("POST", "element", {"using": "css selector", "value": selector})
        self._ask("POST", f"element/{next(iter(found.values()))}/value", {"text": text})

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """Of the DevTools protocol."""
        return self._ask("POST", "goog/cdp/execute", {"cmd": name, "params": parameters})

    def screenshot(self, file: Path) -> None:
        """What the window shows, as PNG."""
        file.write_bytes(base64.b64decode(self._ask("GET", "screenshot")))

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What came into the log (`browser` or `performance`) since it was last asked."""
        return self._ask("POST", "se/log", {"type": kind})

    def requested(self) -> list[str]:
        """The addresses that were asked for since the log was last read, data URIs aside."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        return _ask(method, f"{self.session}/{path}", content)


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A window with a new profile in `folder`; it is closed in the end."""
    log = folder / "chromedriver.log"
    with log.open("w") as output:
        driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{_port(driver, log)}/session"
        page = _window(address, folder)
        try:
            yield page
        finally:
            with suppress(OSError, AssertionError):  # a crashed browser has no window to close
                _ask("DELETE", page.session)
    finally:
        driver.terminate()
        driver.wait()


def _window(address: str, folder: Path) -> Page:
    """A browser that does not come up, as on a machine under load, is started once more."""
    try:
        return _opened(address, folder / "profile")
    except (OSError, AssertionError):
        return _opened(address, folder / "second-profile")


def _opened(address: str, profile: Path) -> Page:
    wanted = {
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": str(CHROMIUM), "args": [*FLAGS, f"--user-data-dir={profile}"]},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        "timeouts": {"script": SECONDS * 1000, "pageLoad": SECONDS * 1000},
    }
    session = _ask("POST", address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
    page = Page(f"{address}/{session}")
    page.blank()
    return page


def _port(driver: subprocess.Popen, log: Path) -> int:
    """What it chose, from what it prints when it is ready."""
    while driver.poll() is None:
        for line in log.read_text().splitlines():
            if "started successfully on port" in line:
                return int(line.rstrip(".").rsplit(" ", 1)[1])
        time.sleep(0.02)
    raise RuntimeError(f"chromedriver ended: {log.read_text()}")


def _ask(method: str, url: str, content: dict[str, Any] | None = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            return json.loads(answer.read())["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from None
