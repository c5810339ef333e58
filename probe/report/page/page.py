"""The report as one HTML file: tables, figures, runs, and a gallery of queries with what was found for them.

The same runs give the same bytes.

    write_report(benches, Path("out/report.html"), queries=1000, beside=False)
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.planning.inventory import Bench
from probe.planning.status import Status
from probe.progress import track
from probe.report.figures.drawn import Drawn, figures
from probe.report.page.document import BESIDE, EMBEDDED, document
from probe.report.page.gallery import GallerySet, data, gallery_sets
from probe.report.page.grid import Grid, build_grid
from probe.report.page.provenance import Entry, provenance
from probe.report.render.overview import is_begun
from probe.report.table import Table, build_table
from probe.report.thumbnails import Pictures
from probe.storage import write_whole

PX = 96  # the longer side of a picture
PICTURE = re.compile(r"[0-9a-f]{24}\.webp")  # named after its content


@dataclass(frozen=True)
class Section:
    """A recipe's part of the page."""

    anchor: str
    table: Table
    grid: Grid
    figures: list[Drawn]
    runs: list[Entry]

    @property
    def done(self) -> int:
        return sum(run.done for run in self.runs)

    @property
    def runs_of(self) -> dict[str, str]:
        """The anchor of each row's first run."""
        return {run.row: run.anchor for run in reversed(self.runs)}


@dataclass(frozen=True)
class Written:
    """`pictures` in the page or beside it; `absent` are shown as a placeholder."""

    path: Path
    queries: int
    pictures: int
    absent: int


def write_report(benches: Sequence[Bench], path: Path, queries: int, beside: bool) -> Written:
    """Writes the page, and its pictures into `<name>-pictures` beside it if asked to. Both appear whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sets = gallery_sets(benches, queries)
    folder = path.with_name(f"{path.stem}-pictures") if beside else None
    entries, pictures = _gallery(sets, folder)
    absent = sum(not picture for of_set in pictures for picture in of_set)
    write_whole(path, page(benches, sets, entries, pictures, absent, beside).encode())
    if folder is not None:
        _keep_only({Path(picture).name for of_set in pictures for picture in of_set}, folder)
    return Written(path, sum(len(found.queries) for found in sets), sum(map(len, pictures)) - absent, absent)


def page(
    benches: Sequence[Bench],
    sets: Sequence[GallerySet],
    entries: list[dict[str, Any]],
    pictures: list[list[str]],
    absent: int,
    beside: bool,
) -> str:
    """The HTML. `pictures`: an address or a data URI for each image of each set, empty for what is absent."""
    status = Status(benches[0].workspace)
    sections = [_section(bench, status, f"recipe-{number}") for number, bench in enumerate(benches, start=1)]
    sections.sort(key=lambda section: not is_begun(section.table))  # what is measured comes first
    return document(
        "report.html",
        ["page.js", "gallery.js"] if sets else ["page.js"],
        BESIDE if beside else EMBEDDED,
        sections=sections,
        sets=sets,
        gallery=as_json(entries),
        pictures=[as_json(of_set) for of_set in pictures],
        absent=absent,
    )


def _section(bench: Bench, status: Status, anchor: str) -> Section:
    table = status.of(build_table(bench), bench)
    drawn = figures(bench, table, photographs=False)
    return Section(anchor, table, build_grid(table), drawn, provenance(bench, anchor))


def _gallery(sets: Sequence[GallerySet], folder: Path | None) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Each set as JSON has it, and its pictures."""
    entries, pictures = [], []
    for found in sets:
        entry, images = data(found)
        with track(f"pictures of {found.name}", total=len(images), unit="images") as advance:
            contents = Pictures(found.manifest, PX).encoded(images, advance)
        entries.append(entry)
        pictures.append([_address(content, folder) if content else "" for content in contents])
    return entries, pictures


def _address(content: bytes, folder: Path | None) -> str:
    """Where the page finds a picture: in itself, or in a file named after its content."""
    if folder is None:
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    name = f"{hashlib.sha256(content).hexdigest()[:24]}.webp"
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():
        write_whole(folder / name, content)
    return f"{folder.name}/{name}"


def _keep_only(names: set[str], folder: Path) -> None:
    """Pictures of earlier reports go."""
    for file in folder.glob("*.webp"):
        if PICTURE.fullmatch(file.name) and file.name not in names:
            file.unlink()


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or opens another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
