"""Pydantic's verdict on a file as one sentence for the person who wrote it, with the nearest known key.

raise UsageError(f"{path}: {describe(error, RecipeFile)}")
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from probe.errors import UsageError, first_line, nearest

Model = TypeVar("Model", bound=BaseModel)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Strict(BaseModel):
    """Plain data that a user wrote; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def written_keys(cls) -> Collection[str]:
        """What may be written."""
        return cls.model_fields.keys()

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, given: Any) -> Any:
        for key, value in given.items() if isinstance(given, dict) else ():
            field = cls.model_fields.get(key) if isinstance(value, bool) else None
            types = _types_in(field.annotation) if field else set()
            if bool not in types and types & {int, float}:
                raise ValueError(f"`{key}` is a number, not {str(given[key]).lower()}")
        return given


def parse_yaml(text: str) -> Any:
    """By libyaml where PyYAML has it, which is ten times as fast. Raises yaml.YAMLError, also for a key that is there
    twice, of which YAML's loaders keep the last."""
    loader = LOADER(text)
    try:
        root = loader.get_single_node()
        _refuse_keys_twice(root)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _refuse_keys_twice(root: yaml.Node | None) -> None:
    """Looks at the text's own keys, before what `<<` merges into them."""
    todo, seen = [root] if root else [], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in keys:
                        raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key '{key.value}' is there twice")
                    keys.add((key.tag, key.value))
                todo.append(value)
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value


def read_strict(path: Path, model: type[Model], what: str) -> Model:
    """A YAML file that a user wrote, checked. Raises UsageError naming the file and the key; `what` it should be."""
    return checked(read_keys(path, what), model, path)


def read_keys(path: Path, what: str) -> dict[str, Any]:
    """The keys of a YAML file, not yet checked. Raises UsageError where there are none."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as {what}: {first_line(error)}.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not {what}: it holds no keys.")
    return content


def checked(content: dict[str, Any], model: type[Model], path: Path) -> Model:
    """What a file holds, as the model has it. Raises UsageError naming the file and the key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {describe(error, model)}") from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of the error, as `where: what`, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    location = first["loc"]
    if first["type"] in ("extra_forbidden", "missing"):
        *parents, key = location
        location = tuple(parents)
        of = _model_at(model, location)
        known = of.written_keys() if issubclass(of, Strict) else of.model_fields
        unknown = first["type"] == "extra_forbidden"
        what = f"unknown key '{key}'; {nearest(str(key), known)}" if unknown else f"'{key}' is missing."
    else:
        got = first["input"]
        shown = f" (got {got!r})" if got is None or isinstance(got, str | int | float | list) else ""
        said = f"{first['msg'].removeprefix('Value error, ')}{shown}"
        what = said if said.endswith((".", "?")) else f"{said}."
    place = ".".join(str(part) for part in location)
    more = f" ({len(problems) - 1} more problem(s))" if len(problems) > 1 else ""
    return f"{place}: {what}{more}" if place else f"{what}{more}"


def _types_in(annotation: Any) -> set[Any]:
    """The types that an annotation such as a union names."""
    members = get_args(annotation)
    return {found for member in members for found in _types_in(member)} if members else {annotation}


def _model_at(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model in which the fields at `place` live; the tag of a union of kinds picks its member."""
    candidates = [model]
    for part in place:
        annotations = [known.model_fields[part].annotation for known in candidates if part in known.model_fields]
        if annotations:
            candidates = [found for annotation in annotations for found in models_in(annotation)] or candidates
        else:
            of_kind = [known for known in candidates if "kind" in known.model_fields]
            candidates = [known for known in of_kind if known.model_fields["kind"].default == part] or candidates
    return candidates[0]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation such as a union names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]
