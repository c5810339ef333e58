"""docs/coverage.md is written from docs/coverage.yaml, and each name in that list exists: `python -m tests.coverage`.

A place is a setting of a recipe, a command, a file, or a row or test in a file; the notes have theirs in backticks.

    mistakes(read_rows())     # ["row 7: there is no file recipes/unifex_tabel3.yaml"]
"""

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, TypeAdapter

from probe.data.curation import read_curations
from probe.data.dataset import all_datasets
from probe.errors import UsageError
from probe.fit import TrainedConfig
from probe.recipes.recipe import read_recipe
from probe.validation import Strict
from tests.documents import ROOT, check_command, spans, whole

LIST = ROOT / "docs" / "coverage.yaml"
PAGE = ROOT / "docs" / "coverage.md"
HEAD = """# Coverage

Every system, method, data set, metric, table, figure and claim of the papers (UniFEx, UnED with its supplement, the
report of GUIEC's 6th place), {count} in all, and where it is here. A row without a place says why.

`make coverage` writes this page from `docs/coverage.yaml`. What stands in backticks exists; `tests/test_coverage.py`
checks it. `recipes/uned_table4.yaml::IN+PCAw` is a row of a recipe, `head: pca-whitening` a key of a recipe with its
value ([recipes.md](recipes.md)). Which numbers may be compared with printed ones: [tables.md](tables.md).
"""
OF_SHOW = {"metrics", "index", "protocol", "validation", "mark"}
OF_ROW = {"train", "backbone", "append", "views", "head", "loss", "domain", "specialists", "seeds"}
BESIDE = {"specialist-steps": {"specialist_steps": {"cars196": 1}}}
COLUMNS = "| # | item | where | what to know |\n|---:|---|---|---|"


class Row(Strict):
    number: int
    """The checklist's."""
    item: str
    where: list[str | dict[str, Any]] = Field(default_factory=list)
    """A setting is a mapping with one key."""
    note: str = ""

    @property
    def places(self) -> list[str]:
        return [place if isinstance(place, str) else _flow(place) for place in self.where]

    @property
    def settings(self) -> Iterator[tuple[str, Any]]:
        for place in self.where:
            if isinstance(place, dict):
                yield from place.items()


def _flow(setting: dict[str, Any]) -> str:
    """`head: {kind: linear}`, as in a recipe."""
    return yaml.safe_dump(setting, default_flow_style=True, sort_keys=False, width=10_000).strip()[1:-1]


def read_rows(path: Path = LIST) -> dict[str, list[Row]]:
    """The rows of each section."""
    return TypeAdapter(dict[str, list[Row]]).validate_python(yaml.safe_load(path.read_text()))


def page(sections: dict[str, list[Row]]) -> str:
    parts = [HEAD.format(count=sum(map(len, sections.values())))]
    for title, rows in sections.items():
        parts.append(f"## {title}\n\n{COLUMNS}")
        parts += [_line(row) for row in rows]
        parts.append("")
    return "\n".join(parts)


def _line(row: Row) -> str:
    cells = [str(row.number), row.item, ", ".join(f"`{place}`" for place in row.places), row.note]
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def mistakes(rows: list[Row]) -> list[str]:
    """One sentence for each name that does not exist, and for each row that is not what it says."""
    found = []
    for position, row in enumerate(rows, 1):
        if row.number != position:
            found.append(f"row {row.number} stands in the place of row {position}")
        if not (row.where or row.note):
            found.append(f"row {row.number} has neither a place nor a reason")
        for name in [*row.places, *spans(row.note)]:
            try:
                _require(name)
            except (AssertionError, UsageError) as error:
                found.append(f"row {row.number}: {name}: {error}")
        found += [f"row {row.number}: {file} has none of its settings" for file in _recipes_without_it(row)]
    return found


def _require(name: str) -> None:
    """Raises AssertionError or UsageError where there is no such command, target, setting, file, or part of it."""
    file, _, part = name.partition("::")
    if name.startswith("probe "):
        check_command(name)
    elif name.startswith("make "):
        assert re.search(rf"^{name.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), "no such target"
    elif ": " in name:
        for key, value in yaml.safe_load(name).items():
            _require_setting(key, value)
    else:
        assert (ROOT / file).is_file(), "no such file"
        assert not part or part in _parts(ROOT / file), f"{file} has no such part"


def _require_setting(key: str, value: Any) -> None:
    """A recipe with it can be read."""
    if key in ("data", "train"):
        assert value in {dataset.name for dataset in all_datasets()}, "no such data set"
    if key in ("head", "loss") and isinstance(value, str):
        value = {"kind": value}
    own = {"data": value} if key == "data" else {"show": {key: value}} if key in OF_SHOW else {}
    of_row = {key: value} if key in OF_ROW else {} if own else {"training": {key: value, **BESIDE.get(str(value), {})}}
    row = {"name": "A row", "backbone": "clip-vit-b16"} | of_row
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(whole({"backbones": _backbones(), "rows": [row]} | own)))
        assert read_recipe(path).rows


def _recipes_without_it(row: Row) -> list[str]:
    """Recipes beside backbones, heads, losses or samplers, of which they have none."""
    named = {(key, kind) for key, value in row.settings for kind in _kinds(key, value)}
    files = [name for name in row.places if re.fullmatch(r"recipes/[\w-]+\.yaml", name)]
    return [file for file in files if named and (uses := _uses(ROOT / file)) and not named & uses]


def _kinds(key: str, value: Any) -> list[str]:
    if key not in ("backbone", "head", "loss", "sampler"):
        return []
    return [value["kind"]] if isinstance(value, dict) else value if isinstance(value, list) else [value]


@cache
def _uses(file: Path) -> set[tuple[str, str]]:
    """The backbones, heads, losses and samplers of a recipe's runs."""
    uses = set()
    for run in [run for row in read_recipe(file).rows for run in row.runs[:1]]:
        uses |= {("head", run.head.kind), *(("backbone", name) for name in run.backbones)}
        if isinstance(run, TrainedConfig):
            uses |= {("loss", run.loss.kind), ("sampler", run.training.sampler.kind)}
    return uses


@cache
def _parts(file: Path) -> set[str]:
    """The tests of a test file, the rows of a recipe."""
    if file.suffix == ".py":
        return set(re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE))
    if file.parent.name == "curation":
        return {curation.name for curation in read_curations(file)}
    return {row.name for row in read_recipe(file).rows}


@cache
def _backbones() -> dict[str, Any]:
    """Those that the recipes have of their own."""
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "recipes").glob("*.yaml")]
    return {name: row for file in files for name, row in (file.get("backbones") or {}).items()}


if __name__ == "__main__":
    PAGE.write_text(page(read_rows()))
