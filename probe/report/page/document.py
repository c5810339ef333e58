"""A self-contained HTML document: style and script are in it, and it makes no request.

Its security policy forbids requests, and allows its one script by digest, so that nothing in a name can ever run.

html(table)                                                     # one table
document("report.html", ["page.js", "gallery.js"], sections=...)    # the report
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from probe.report.agreement import agreement_line
from probe.report.page.grid import build_grid
from probe.report.render import overview
from probe.report.render.entries import legend, time_text
from probe.report.render.long_csv import long_csv
from probe.report.render.standing import SYMBOLS
from probe.report.table import Table

EMBEDDED, BESIDE = "data:", "data: 'self' file:"  # sources of thumbnails


def html(table: Table) -> str:
    """A page with a sortable table and its notes. The same table gives the same bytes."""
    return document("table.html", ["page.js"], table=table, grid=build_grid(table))


def document(template: str, scripts: Sequence[str], images: str = EMBEDDED, **values: Any) -> str:
    """A template of this folder, filled in. `images`: allowed sources of images, EMBEDDED or BESIDE."""
    script = "\n".join(map(_resource, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    found = _environment().get_template(template)
    return found.render(script=script, style=_resource("page.css"), policy=policy, **values)


@cache
def _environment() -> Environment:
    loader = FunctionLoader(_resource)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.globals |= {"legend": legend, "agreement_line": agreement_line, "time_text": time_text, "overview": overview}
    made.globals |= {"symbols": SYMBOLS, "csv_address": _csv_address}
    return made


def _csv_address(table: Table) -> str:
    """The table as a file in the page itself."""
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(long_csv(table).encode()).decode()}"


def _resource(name: str) -> str:
    return files("probe.report.page").joinpath(name).read_text(encoding="utf-8")
