"""Pydantic's verdict on a file as one sentence for the person who wrote it, with the nearest known key.

raise UsageError(f"{path}: {describe(error, RecipeFile)}")
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from feature_cache import require_regular
from probe.errors import UsageError, first_line, nearest

Model = TypeVar("Model", bound=BaseModel)
DEEPEST = 50
MOST_NODES = 1_000_000
UNKNOWN_KEY = "unknown_key"
NO_LIST = ("list_type", "tuple_type", "set_type", "frozen_set_type")
NO_KEYS = ("dict_type", "model_type", "model_attributes_type")
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
    """The one reader of YAML; by libyaml where PyYAML has it, which is ten times as fast.

    Raises ValueError, also for a key that is there twice, of which YAML's loaders keep the last, and for what is nested
    so deep, or repeats itself by aliases so often, that reading it would not end.
    """
    try:
        _refuse_bombs(text)
        loader = LOADER(text)
        try:
            root = loader.get_single_node()
            _refuse_keys_twice(root)
            return None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise ValueError(_with_place(error, text)) from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _with_place(error: yaml.MarkedYAMLError, text: str) -> str:
    """What is wrong, with line and column, and what was being read where that began elsewhere."""
    mark, begun = error.problem_mark, error.context_mark
    if mark is None:
        return str(error)
    lines = [*text.split("\n"), ""]  # the end of the text is on a line of its own
    tab = (
        " (a tab; indent with blanks)"
        if "".join(lines[mark.line : mark.line + 1])[mark.column :].startswith("\t")
        else ""
    )
    context = ""
    if error.context and begun and begun.line != mark.line:
        context = f", {error.context} that begins in line {begun.line + 1}"
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{tab}{context}"


def _refuse_bombs(text: str) -> None:
    """Counts nodes as they would be with every alias written out. Raises YAMLError for too many, or too deep ones."""
    open_nodes: list[tuple[str | None, int]] = []  # the anchor of each collection that is open, and what was before it
    sizes: dict[str, int] = {}
    count = 0
    for event in yaml.parse(text, Loader=LOADER):
        where = f"line {event.start_mark.line + 1}: "
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"{where}*{event.anchor} is nothing that ended before it")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            count += 1
            open_nodes.append((event.anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before + 1
        if len(open_nodes) > DEEPEST:
            raise yaml.YAMLError(f"{where}it is nested more than {DEEPEST} deep")
        if count > MOST_NODES:
            raise yaml.YAMLError(f"{where}with its aliases written out it has more than {MOST_NODES:,} values")


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
    require_regular(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
    """The first problem of the error, an unknown key before others, as `where: what`, and how many more there are."""
    problems = with_nearest_keys(error, model).errors(include_url=False)
    first = next((problem for problem in problems if problem["type"] == UNKNOWN_KEY), problems[0])
    location, what, got = first["loc"], first["msg"].removeprefix("Value error, "), first["input"]
    if first["type"] == "missing":
        *parents, key = location
        location, what = tuple(parents), f"'{key}' is missing"
    elif first["type"] != UNKNOWN_KEY and (got is None or isinstance(got, str | int | float | list)):
        what = f"{what} (got {got!r})"
    place = f"{'.'.join(str(part) for part in location)}: " if location else ""
    more = f" ({len(problems) - 1} more problem(s))" if len(problems) > 1 else ""
    return f"{place}{what}{'' if what.endswith(('.', '?')) else '.'}{more}"


def with_nearest_keys(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """The same problems; an unknown key has the nearest of those that there are in its place of the model."""
    problems = [_with_nearest_key(problem, model) for problem in error.errors(include_url=False)]
    return ValidationError.from_exception_data(error.title, problems)


def _with_nearest_key(problem: ErrorDetails, model: type[BaseModel]) -> InitErrorDetails:
    location, kind, message = problem["loc"], problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        *parents, key = location
        location = tuple(parents)
        of = _model_at(model, location)
        known = of.written_keys() if issubclass(of, Strict) else of.model_fields
        kind, message = UNKNOWN_KEY, f"unknown key '{key}'; {nearest(str(key), known)}"
    elif kind == "union_tag_not_found":
        message = "'kind' is missing, which says what it is"
    elif "expected_tags" in (context := problem.get("ctx", {})):
        known = context["expected_tags"].replace("'", "").split(", ")
        kind, message = UNKNOWN_KEY, f"there is no kind '{context['tag']}'; {nearest(context['tag'], known)}"
    elif kind in NO_KEYS:
        message = "it should be keys with values"
    elif kind in NO_LIST:
        message = "it should be a list"
    elif kind == "too_short" and "min_length" in context:
        message = f"it should have at least {context['min_length']}"
    found = PydanticCustomError(kind, "{message}", {"message": message})  # type: ignore[arg-type]
    return InitErrorDetails(type=found, loc=location, input=problem["input"])


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
