"""docs/coverage.md has each of the checklist's 202 rows, in order, and every name that it gives exists."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from probe.backbones.catalogue import find_backbone
from probe.data.curation import Source, read_curations
from probe.data.dataset import all_datasets
from probe.errors import UsageError
from probe.fit.config import Training
from probe.heads import HeadConfig
from probe.losses import LossConfig
from probe.recipes.display import Shown
from probe.recipes.recipe import read_recipe
from probe.recipes.row import _Row
from tests.documents import ROOT, check_command, spans

PAGE = ROOT / "docs" / "coverage.md"
CHECKLIST = ROOT.parent / "shared" / "reference" / "SYSTEMS.md"
ROWS = 202
KEYS: dict[str, Any] = {
    **{name: field.annotation for name, field in Source.model_fields.items() if name != "data"},
    **{name: field.rebuild_annotation() for name, field in Shown.model_fields.items()},
    **{name: field.annotation for name, field in Training.model_fields.items()},
    **{name: field.annotation for name, field in _Row.model_fields.items()},
    "head": HeadConfig,
    "loss": LossConfig,
}


def cells(text: str) -> list[list[str]]:
    """The cells of each numbered row of the text's tables."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if re.match(r"\| *\d", line)]


LINES = cells(PAGE.read_text())


def test_it_has_each_row_once_and_in_order():
    assert [line[0] for line in LINES] == [str(number) for number in range(1, ROWS + 1)]
    assert {len(line) for line in LINES} == {4}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_every_name_that_a_row_gives_exists(line: list[str]):
    _, _, where, why = line
    assert where or why, "neither a place nor a reason"
    assert not where or spans(where), f"a place without a name: {where}"
    for name in spans(f"{where} {why}"):
        require(name)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_a_recipe_beside_a_backbone_head_loss_or_sampler_has_it(line: list[str]):
    named = {use for name in spans(line[2]) if ": " in name for use in uses_named(*name.split(": ", 1))}
    for file in [name for name in spans(line[2]) if re.fullmatch(r"recipes/[\w-]+\.yaml", name)]:
        uses = uses_of(ROOT / file)
        assert not named or not uses or named & uses, f"{file} has none of {named}"


@pytest.mark.skipif(not CHECKLIST.exists(), reason="the checklist is not on this machine")
def test_its_rows_are_the_checklists_and_what_frozen_features_allow_has_a_place():
    for (number, item, where, _), wanted in zip(LINES, cells(CHECKLIST.read_text()), strict=True):
        assert [number, item] == [wanted[0], wanted[2]]
        assert where or not wanted[4].startswith("yes"), f"row {number} has no place"


NOTHING = """
probe fitt · probe fit --job · make tables · docs/loss.md · recipes/quickstart.yaml::Arcface · head: linar · lost: 1
loss: {kind: arcface, margins: 1} · backbone: [descriptor, clip-b16] · data: sops · sampler: even · metrics: [mMP@6]
tests/test_coverage.py::test_nothing · recipes/curation/appendix-a1.yaml::a1
"""


@pytest.mark.parametrize("name", re.split(r" · |\n", NOTHING.strip()))
def test_a_name_of_nothing_is_noticed(name: str):
    with pytest.raises((AssertionError, UsageError, ValidationError)):
        require(name)


def require(name: str) -> None:
    """Raises an error where there is no such command, target, file, row, test, key or value."""
    if name.startswith("probe "):
        check_command(name)
    elif name.startswith("make "):
        assert re.search(rf"^{name.split()[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), name
    elif "::" in name:
        file, _, part = name.partition("::")
        assert part in parts(ROOT / file), f"{file} has no '{part}'"
    elif ": " in name:
        require_key(*name.split(": ", 1))
    else:
        assert (ROOT / name).is_file(), f"there is no file {name}"


def require_key(key: str, text: str) -> None:
    value = yaml.safe_load(text)
    assert key in {"data", *KEYS}, f"no key is called '{key}'"
    if key == "backbone":
        for name in [value] if isinstance(value, str) else value:
            assert name in own_backbones() or find_backbone(name), name
    elif key in ("data", "train"):
        assert value in {dataset.name for dataset in all_datasets()}, f"no data set is called '{value}'"
    else:
        value = {"kind": value} if key in ("head", "loss") and isinstance(value, str) else value
        TypeAdapter(KEYS[key]).validate_python(value)


def uses_named(key: str, text: str) -> set[tuple[str, str]]:
    value = yaml.safe_load(text)
    if key not in ("backbone", "head", "loss", "sampler"):
        return set()
    names = [value["kind"]] if isinstance(value, dict) else [value] if isinstance(value, str) else value
    return {(key, name) for name in names}


@cache
def uses_of(file: Path) -> set[tuple[str, str]]:
    """The backbones, heads, losses and samplers of a recipe's runs."""
    uses = set()
    for run in [run for row in read_recipe(file).rows for run in row.runs[:1]]:
        uses |= {("head", run.head.kind), *(("backbone", name) for name in run.backbones)}
        uses |= {("loss", run.loss.kind)} if run.loss else set()
        uses |= {("sampler", run.training.sampler)} if run.training else set()
    return uses


@cache
def parts(file: Path) -> set[str]:
    """The tests of a test file, the rows of a recipe."""
    if file.suffix == ".py":
        return set(re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE))
    if file.parent.name == "curation":
        return {curation.name for curation in read_curations(file)}
    return {row.name for row in read_recipe(file).rows}


@cache
def own_backbones() -> set[str]:
    """Those of the recipes' own."""
    recipes = [read_recipe(path) for path in (ROOT / "recipes").glob("*.yaml")]
    return {backbone.name for recipe in recipes for backbone in recipe.backbones}
