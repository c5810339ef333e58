"""What `make docs` needs besides mkdocs.yml: pages from the root of the project, and module docstrings as they stand."""

import ast
from pathlib import Path
from typing import Any

from griffe import Extension, Module
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A hook of mkdocs: adds the pages, their links as from docs/."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        for other, target in PAGES.items():
            text = text.replace(f"]({other}", f"]({target}")
        files.append(File.generated(config, page, content=text))
    return files


class ModuleDocstrings(Extension):
    """Griffe takes away the indentation that all lines but the first share, which may be that of the example."""

    def on_module_instance(self, *, node: Any, mod: Module, **kwargs: Any) -> None:
        if mod.docstring and isinstance(node, ast.Module):
            mod.docstring.value = ast.get_docstring(node, clean=False) or ""
