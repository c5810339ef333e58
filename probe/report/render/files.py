"""The output formats of a table, and the files that have them in out/tables, named after the recipe.

A new format is a function from a table to text, registered in FORMATS under the suffix of its files.

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

FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": long_csv, "tex": latex, "html": html}


def write_files(table: Table, folder: Path) -> list[Path]:
    """One of each format; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, text in FORMATS.items():
        file = folder / f"{table.recipe.name}.{suffix}"
        write_whole(file, text(table).encode())
        written.append(file)
    return written
