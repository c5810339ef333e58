"""The user's own parts, as docs/ writes them, for the tests to put into a folder.

write_pages_parts(folder)      # my_losses.py, my_heads.py, and my_table.yaml with the rows of both pages
"""

import re
from pathlib import Path

import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Of the section about one's own."""
    [section] = re.findall(r"^## Your own .*?(?=^## )", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)


def write_pages_parts(folder: Path) -> None:
    for name in ("losses", "heads"):
        [code] = blocks(f"{name}.md", "python")
        (folder / f"my_{name}.py").write_text(code)
    recipe, head = (yaml.safe_load(blocks(page, "yaml")[0]) for page in ("losses.md", "heads.md"))
    (folder / "my_table.yaml").write_text(yaml.safe_dump(recipe | {"rows": recipe["rows"] + head["rows"]}))
