"""What `make docs` needs besides mkdocs.yml: pages from the root of the project, and examples shown as code."""

import ast
import logging
from pathlib import Path
from typing import Any

from griffe import Extension, Module
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FILES = ["LICENSE", "CITATION.cff", *(f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py"))]

logging.getLogger("mkdocs.plugins.api-autonav").setLevel(logging.WARNING)  # it names every module


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A hook of mkdocs: adds the pages, their links as from docs/, and the files that they link to."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in PAGES.items():
            text = text.replace(f"]({other}", f"]({target}")
        files.append(File.generated(config, page, content=text))
    for name in FILES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


class Examples(Extension):
    """`ruff format` takes the indentation from an example that is all that follows a module's first line."""

    def on_module_instance(self, *, mod: Module, **kwargs: Any) -> None:
        if mod.docstring:
            summary, *paragraphs = mod.docstring.value.split("\n\n")
            mod.docstring.value = "\n\n".join([summary, *map(_as_code, paragraphs)])


def _as_code(paragraph: str) -> str:
    """In a fence, where it is Python; no prose is."""
    try:
        ast.parse(paragraph)
    except SyntaxError:
        return paragraph
    return f"```python\n{paragraph}\n```"
