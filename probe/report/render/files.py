"""The files of a table in out/tables, named after its recipe.

write_files(table, Path("out/tables"))       # quickstart.md, quickstart.csv, .tex, .html
"""

from collections.abc import Callable
from pathlib import Path

from probe.report.page.document import html
from probe.report.render.latex import latex
from probe.report.render.long_csv import long_csv
from probe.report.render.markdown import markdown
from probe.report.table import Table
from probe.storage import write_whole

FORMS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": long_csv, "tex": latex, "html": html}


def write_files(table: Table, folder: Path) -> list[Path]:
    """One of each form; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in FORMS.items():
        file = folder / f"{table.recipe.name}.{suffix}"
        write_whole(file, text(table).encode())
        written.append(file)
    return written
