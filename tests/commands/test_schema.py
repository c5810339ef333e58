"""The schemas that editors use accept every file that is here, and mark what the readers refuse."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema.exceptions import best_match
from typer.testing import CliRunner

from probe.cli import app
from probe.validation import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "recipe": sorted((ROOT / "recipes").glob("*.yaml")),
    "catalogue": [ROOT / "probe" / "backbones" / "catalogue.yaml"],
    "curation": sorted((ROOT / "recipes" / "curation").glob("*.yaml")),
}
QUICKSTART = parse_yaml((ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validators() -> dict[str, Any]:
    found = {}
    for kind in FILES:
        schema = json.loads(CliRunner().invoke(app, ["schema", kind]).stdout)
        jsonschema.Draft202012Validator.check_schema(schema)
        found[kind] = jsonschema.Draft202012Validator(schema)
    return found


@pytest.mark.parametrize("kind", FILES)
def test_every_file_that_is_here_is_valid(kind: str, validators: dict[str, Any]) -> None:
    for file in FILES[kind]:
        validators[kind].validate(parse_yaml(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda recipe: recipe.update(sampel=1), []),
        (lambda recipe: recipe.update(kind="statistics"), []),
        (lambda recipe: recipe["defaults"]["loss"].update(margni=0.4), ["defaults", "loss"]),
        (lambda recipe: recipe["defaults"]["loss"].update(kind="arcfase"), ["defaults", "loss", "kind"]),
        (lambda recipe: recipe["defaults"]["loss"].update(kind="softmax", margin=0.4), ["defaults", "loss"]),
        (lambda recipe: recipe["defaults"]["training"].update(epochs="many"), ["defaults", "training", "epochs"]),
        (lambda recipe: recipe["defaults"]["training"].update(sampler="random"), ["defaults", "training", "sampler"]),
        (lambda recipe: recipe["rows"].append({"nam": "x"}), ["rows", len(QUICKSTART["rows"])]),
    ],
)
def test_a_mistake_is_marked_where_it_is(
    change: Callable[[Any], object], place: list[Any], validators: dict[str, Any]
) -> None:
    recipe = copy.deepcopy(QUICKSTART)
    change(recipe)
    error = best_match(validators["recipe"].iter_errors(recipe))
    assert error is not None
    assert list(error.absolute_path) == place


def test_a_loss_of_ones_own_has_options_of_its_own(validators: dict[str, Any]) -> None:
    recipe = copy.deepcopy(QUICKSTART)
    recipe["defaults"]["loss"] = {"kind": "mymodule:MyLoss", "temperature": 0.1}
    validators["recipe"].validate(recipe)
