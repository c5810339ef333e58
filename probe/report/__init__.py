"""Tables, figures and pages of what runs have measured.

Everything is made of finished runs; nothing is fitted here. Names are loaded on use: only figures and the report load
matplotlib.

    from probe.report import build_table, show
    show(build_table(inventory), printer())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.report.evaluation import QUIRKS, score_tables
    from probe.report.figures.figure import write_figures
    from probe.report.page.page import write_report
    from probe.report.render.files import FORMATS, write_files
    from probe.report.render.overview import is_begun, show_overview
    from probe.report.render.terminal import show
    from probe.report.table import Table, build_table

MODULES = {
    "FORMATS": "render.files",
    "QUIRKS": "evaluation",
    "Table": "table",
    "build_table": "table",
    "is_begun": "render.overview",
    "score_tables": "evaluation",
    "show": "render.terminal",
    "show_overview": "render.overview",
    "write_figures": "figures.figure",
    "write_files": "render.files",
    "write_report": "page.page",
}
__all__ = [
    "FORMATS",
    "QUIRKS",
    "Table",
    "build_table",
    "is_begun",
    "score_tables",
    "show",
    "show_overview",
    "write_figures",
    "write_files",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
