"""The JSON schema of a recipe's file, by which editors complete its keys and check them as they are typed.

It follows from the models and registries that check a recipe, so that a new loss is in it. It knows one file: whether
a row fits the defaults, the data or the file of printed values, reading the recipe says.

    json.dumps(recipe_schema())
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from probe.fit import Training
from probe.heads import HEADS
from probe.losses import LOSSES
from probe.recipes.claims import ClaimsRecipe
from probe.recipes.recipe import CLAIMS, Defaults, RecipeFile
from probe.recipes.row import ClosedFormRowFile, TrainedRowFile
from probe.recipes.static import STATIC_RECIPES
from probe.registry import Registry

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
USERS_OWN: Schema = {"type": "string", "pattern": ":", "description": "a class of your own, package.module:Class"}


def recipe_schema() -> Schema:
    """Of recipes, and of those without runs, which their `kind` tells."""
    others = {**STATIC_RECIPES, CLAIMS: ClaimsRecipe}
    definitions: Schema = {}
    branches = [_if_kind(kind, _model(file, definitions)) for kind, file in others.items()]
    with_runs = _with_runs(definitions)
    return {
        "$schema": DRAFT,
        "title": "A recipe of probe",
        "type": "object",
        "properties": {"kind": {"enum": list(others)}} | dict.fromkeys(with_runs["properties"], True),
        "allOf": [{"if": {"required": ["kind"]}, "else": with_runs}, *branches],
        "$defs": definitions,
    }


def _with_runs(definitions: Schema) -> Schema:
    sections = {
        "head": _of_kinds(HEADS, definitions),
        "loss": _of_kinds(LOSSES, definitions),
        "training": _training(definitions),
    }
    file = _model(RecipeFile, definitions)
    row_files = [_model(model, definitions) for model in (ClosedFormRowFile, TrainedRowFile)]
    row = {key: value for model in row_files for key, value in model["properties"].items() if key != "seed"}
    keys = set(Defaults.model_fields)
    defaults = _object({key: value for key, value in (row | sections).items() if key in keys})
    row_schema = _object(row | sections | {"like": {"type": "string"}})
    row_schema["anyOf"] = [{"required": ["name"]}, {"required": ["like"]}]
    rows = {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, row_schema]}}
    own = {"defaults": defaults, "rows": rows, "based_on": {"type": "string"}}
    return _object(file["properties"] | own) | {
        "required": ["title"],
        "anyOf": [{"required": ["data", "rows"]}, {"required": ["based_on"]}],
    }


def _of_kinds(registry: Registry[Any], definitions: Schema) -> Schema:
    """A section that has a `kind`, and the options of it alone."""
    models = {kind: _model(member.Config, definitions)["properties"] for kind, member in registry.kinds.items()}
    properties = _merged(models.values()) | {"kind": {"anyOf": [{"enum": list(models)}, USERS_OWN]}}
    return {
        "type": "object",
        "properties": properties,
        "if": {"required": ["kind"], "properties": {"kind": USERS_OWN}},
        "else": {"propertyNames": {"enum": list(properties)}},
        "allOf": [_if_kind(kind, {"propertyNames": {"enum": list(options)}}) for kind, options in models.items()],
    }


def _training(definitions: Schema) -> Schema:
    """The choices are written flat, each with the options of its kinds beside it."""
    properties = {
        key: value for key, value in _model(Training, definitions)["properties"].items() if key not in Training.choices
    }
    for name, choice in Training.choices.items():
        options = _merged(_model(config, definitions)["properties"] for config in choice.kinds.values())
        del options["kind"]
        properties |= {key: {"anyOf": [value, {"type": "null"}]} for key, value in options.items()}
        if name not in Training.implied:
            properties[name] = {"anyOf": [{"enum": list(choice.kinds)}, USERS_OWN], "default": choice.default}
    measured = {"type": "object", "properties": {"measured": {"type": "string"}}, "required": ["measured"]}
    properties["specialist_steps"]["anyOf"].append(measured)
    return _object(properties)


def _model(model: type[BaseModel], definitions: Schema) -> Schema:
    """Its schema; what that refers to goes to the definitions."""
    schema = model.model_json_schema()
    definitions |= schema.pop("$defs", {})
    return schema


def _merged(options: Iterable[Mapping[str, Any]]) -> Schema:
    """The options of several kinds; what two have under one name is what either takes."""
    found: dict[str, list[Any]] = {}
    for of_kind in options:
        for key, value in of_kind.items():
            plain = {name: part for name, part in value.items() if name not in ("title", "default")}
            if plain not in found.setdefault(key, []):
                found[key].append(plain)
    return {key: values[0] if len(values) == 1 else {"anyOf": values} for key, values in found.items()}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _if_kind(kind: str, then: Schema) -> Schema:
    return {"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": then}
