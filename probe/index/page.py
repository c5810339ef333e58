"""HTML pages of images, each a file that needs no other and makes no request: hits, and near-duplicates.

What is called anything by anybody is escaped, and the page's security policy allows no script.

    Path("hits.html").write_text(hits_page(index, queries, hits))
"""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from PIL import Image

from probe.errors import ProbeError
from probe.index.hits import Hits
from probe.index.index import Index
from probe.index.query import Query

PX = 240  # the longer side of a thumbnail
THREADS = 4  # Pillow decodes without the interpreter's lock

Open = Callable[[], Image.Image]


@dataclass(frozen=True)
class Picture:
    """An image on a page."""

    source: str | None
    """A thumbnail as a `data:` address; None where there is no image to be read."""
    lines: Sequence[str]
    """What stands below it."""
    is_query: bool = False


@dataclass(frozen=True)
class Section:
    title: str
    pictures: Sequence[Picture]


def hits_page(index: Index, queries: Sequence[Query], hits: Hits) -> str:
    """The queries (Q,), each with its hits."""
    sections = []
    for number, query in enumerate(queries):
        found = hits.of(number).to_dicts()
        opened = [lambda image=image: image.decode() for image in query.images]
        opened += [lambda row=row: index.image(row["id"]) for row in found]
        lines = [
            [image.name, *([f"part {','.join(map(str, query.box))}"] if query.box else [])] for image in query.images
        ]
        lines += [[_ranked(row), row["id"], row.get("label") or ""] for row in found]
        sections.append(Section(query.name, pictures(opened, lines, queries=len(query.images))))
    return page("Hits", f"{index.path}: {len(index):,} rows", sections)


def _ranked(row: dict[str, Any]) -> str:
    return f"{row['rank']} · {row['similarity']:.4f}" + ("" if row.get("match", True) else " · no match")


def pictures(opened: Sequence[Open], lines: Sequence[Sequence[str]], queries: int = 0) -> list[Picture]:
    """The images (n,) that these open, with what stands below them (n,); the first `queries` are marked."""
    with ThreadPoolExecutor(THREADS) as pool:
        sources = list(pool.map(_thumbnail, opened))
    return [
        Picture(source, below, number < queries)
        for number, (source, below) in enumerate(zip(sources, lines, strict=True))
    ]


def page(title: str, note: str, sections: Iterable[Section]) -> str:
    return _template().render(title=title, note=note, sections=list(sections))


def _thumbnail(opened: Open) -> str | None:
    try:
        image = opened()
    except ProbeError:  # it is gone, or was never a file
        return None
    image.thumbnail((PX, PX), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("probe.index").joinpath("images.html").read_text(encoding="utf-8"))
