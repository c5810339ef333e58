"""The report as one HTML file: tables, figures, runs, and a gallery of queries with what was retrieved for them.

The same runs give the same bytes.

    write_report(inventories, Path("out/report.html"), queries=1000, beside=False)
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.planning import Inventory, Planner
from probe.progress import track
from probe.report.figures.figure import DrawnFigure, draw_figures
from probe.report.page.document import BESIDE, EMBEDDED, document
from probe.report.page.gallery import GallerySet, as_plain_data, gallery_sets
from probe.report.page.grid import Grid, build_grid
from probe.report.page.provenance import RunRecord, provenance
from probe.report.render.overview import is_begun
from probe.report.table import Table, build_table
from probe.report.thumbnails import Thumbnails
from probe.storage import write_whole

PX = 96  # the longer side of a thumbnail
THUMBNAIL = re.compile(r"[0-9a-f]{24}\.webp")  # a file named after its content


@dataclass(frozen=True)
class Section:
    """A recipe's part of the page."""

    anchor: str
    table: Table
    grid: Grid
    figures: list[DrawnFigure]
    runs: list[RunRecord]

    @property
    def done(self) -> int:
        return sum(run.done for run in self.runs)

    @property
    def anchors(self) -> dict[str, str]:
        """The anchor of each row's first run."""
        return {run.row: run.anchor for run in reversed(self.runs)}


@dataclass(frozen=True)
class WrittenReport:
    path: Path
    queries: int
    """In the gallery."""
    thumbnails: int
    """In the page or beside it."""
    absent: int
    """Images that have a placeholder."""


def write_report(inventories: Sequence[Inventory], path: Path, queries: int, beside: bool) -> WrittenReport:
    """Writes the page; `beside`: with its thumbnails in `<name>-pictures` beside it. Both appear whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sets = gallery_sets(inventories, queries)
    folder = path.with_name(f"{path.stem}-pictures") if beside else None
    contents, thumbnails = _gallery(sets, folder)
    absent = sum(not thumbnail for of_set in thumbnails for thumbnail in of_set)
    write_whole(path, page(inventories, sets, contents, thumbnails, absent, beside).encode())
    if folder is not None:
        _keep_only({Path(thumbnail).name for of_set in thumbnails for thumbnail in of_set}, folder)
    return WrittenReport(path, sum(len(each.queries) for each in sets), sum(map(len, thumbnails)) - absent, absent)


def page(
    inventories: Sequence[Inventory],
    sets: Sequence[GallerySet],
    contents: list[dict[str, Any]],
    thumbnails: list[list[str]],
    absent: int,
    beside: bool,
) -> str:
    """The HTML. `contents`: of each set, for JSON; `thumbnails`: an address or a data URI for each of its images, empty
    for an absent one."""
    planner = Planner(inventories[0].workspace)
    sections = [
        _section(inventory, planner, f"recipe-{number}") for number, inventory in enumerate(inventories, start=1)
    ]
    sections.sort(key=lambda section: not is_begun(section.table))  # those with measured rows come first
    return document(
        "report.html",
        ["page.js", "gallery.js"] if sets else ["page.js"],
        BESIDE if beside else EMBEDDED,
        sections=sections,
        machine=planner.machine,
        last=max((run.finished for section in sections for run in section.runs if run.finished), default=None),
        sets=sets,
        gallery=as_json(contents),
        pictures=[as_json(of_set) for of_set in thumbnails],
        absent=absent,
    )


def _section(inventory: Inventory, planner: Planner, anchor: str) -> Section:
    table = build_table(inventory, planner.status(inventory))
    figures = draw_figures(inventory, table, photographs=False)
    return Section(anchor, table, build_grid(table), figures, provenance(inventory, anchor))


def _gallery(sets: Sequence[GallerySet], folder: Path | None) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The content of each set, for JSON, and the addresses of its thumbnails."""
    contents, thumbnails = [], []
    for gallery_set in sets:
        content, images = as_plain_data(gallery_set)
        with track(f"pictures of {gallery_set.name}", total=len(images), unit="images") as advance:
            encoded = Thumbnails(gallery_set.manifest, PX).encoded(images, advance)
        contents.append(content)
        thumbnails.append([_address(image, folder) if image else "" for image in encoded])
    return contents, thumbnails


def _address(content: bytes, folder: Path | None) -> str:
    """Of a thumbnail: its data, or a file named after its content."""
    if folder is None:
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    name = f"{hashlib.sha256(content).hexdigest()[:24]}.webp"
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():
        write_whole(folder / name, content)
    return f"{folder.name}/{name}"


def _keep_only(names: set[str], folder: Path) -> None:
    """Deletes the thumbnails of earlier reports."""
    for file in folder.glob("*.webp"):
        if THUMBNAIL.fullmatch(file.name) and file.name not in names:
            file.unlink()


def as_json(value: Any) -> str:
    """JSON for a script element: nothing in it ends the element or opens another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
