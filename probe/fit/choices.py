"""Choices that are written flat: the chosen kind stands under the choice's name, and its options beside it.

    training: {sampler: round-robin, domains: [b, a], optimizer: sgd}       # as it is read, and as it is written

    training.sampler            # RoundRobin.Config(kind="round-robin", domains=("b", "a"))
    training.optimizer          # SGD.Config(kind="sgd", momentum=0.9, nesterov=False)

Which option belongs to which kind follows from the fields of the kinds' configurations. An option of a kind that was
not chosen is an error; `null` stands for an option's default.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import (
    ModelWrapValidatorHandler,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from probe.errors import UsageError, nearest
from probe.registry import Kind, Registry
from probe.validation import Strict


class Choice:
    """Between the kinds of a registry and a user's own, or between the kinds that are given."""

    def __init__(self, source: Registry[Any] | Sequence[type[Kind]], default: str) -> None:
        self._source = source
        self.default = default

    @cached_property
    def kinds(self) -> dict[str, type[Kind]]:
        """The configurations that come with this package."""
        if isinstance(self._source, Registry):
            return {kind: member.Config for kind, member in self._source.kinds.items()}
        return {config.model_fields["kind"].default: config for config in self._source}

    @cached_property
    def options(self) -> list[str]:
        """Of all these kinds."""
        found = {option: None for config in self.kinds.values() for option in config.model_fields}
        return [option for option in found if option != "kind"]

    def find(self, kind: Any) -> type[Kind] | None:
        """The configuration of a kind; None where there is no such kind, which its validation then says."""
        if isinstance(kind, str) and ":" in kind and isinstance(self._source, Registry):
            try:
                return self._source.find(kind).Config
            except UsageError:
                return None
        return self.kinds.get(kind) if isinstance(kind, str) else None


class FlatChoices(Strict):
    """A model some of whose fields are choices."""

    choices: ClassVar[Mapping[str, Choice]] = {}
    """By field."""

    implied: ClassVar[frozenset[str]] = frozenset()
    """The choices that are not written themselves: they follow from the options that are."""

    sparse: ClassVar[frozenset[str]] = frozenset()
    """The fields that are not written where they are None."""

    @classmethod
    def written_keys(cls) -> list[str]:
        """All that may be written, in the order in which it is."""
        found: list[str] = []
        for field in cls.model_fields:
            found += [field] if field not in cls.implied else []
            found += cls.choices[field].options if field in cls.choices else []
        return found

    @classmethod
    def keys_of(cls, given: Mapping[str, Any]) -> set[str]:
        """All that may be written where this is: the options of a user's own kinds too."""
        kinds = [choice.find(cls.chosen(name, given)) for name, choice in cls.choices.items()]
        return {*cls.written_keys(), *(option for config in kinds if config for option in config.model_fields)} - {
            "kind"
        }

    @classmethod
    def chosen(cls, choice: str, given: Mapping[str, Any]) -> Any:
        """The kind that is asked for."""
        return given.get(choice, cls.choices[choice].default)

    @classmethod
    def laid_over(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """What is written above replaces what is below; a kind that is chosen above leaves of the options of the one
        that is chosen below those that it has too."""
        lost: set[str] = set()
        for name, choice in cls.choices.items():
            before, now = choice.find(cls.chosen(name, below)), choice.find(above.get(name))
            if before and now and name not in cls.implied:
                lost |= before.model_fields.keys() - now.model_fields.keys()
        return {key: value for key, value in below.items() if key not in lost} | dict(above)

    @classmethod
    def stray(cls, choice: str, kind: str, option: str) -> str:
        """The error for an option of another kind than the chosen one."""
        return f"`{option}` means nothing with `{choice}: {kind}`; leave it out, or write `{option}: null`"

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, given: Any, build: ModelWrapValidatorHandler[Any]) -> Any:
        if not isinstance(given, dict):
            return build(given)
        try:
            return build(cls._nested(given))
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title, [cls._as_written(one, given) for one in error.errors()]
            ) from error

    @classmethod
    def _nested(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Each choice as one mapping, of its kind and its options."""
        nested, taken = dict[str, Any](), {*cls.choices}
        for name, choice in cls.choices.items():
            if isinstance(given.get(name), Kind):
                nested[name] = given[name]
                continue
            if name in cls.implied and name in given:
                raise ValueError(f"unknown key '{name}'")
            kind = cls.chosen(name, given)
            config = choice.find(kind)
            own = set() if config is None else config.model_fields.keys() - cls.model_fields.keys() - {"kind"}
            taken |= {*choice.options, *own}
            nested[name] = {"kind": kind} | {option: given[option] for option in own if given.get(option) is not None}
            strays = [] if config is None else sorted(set(choice.options) - own)
            for option in strays:
                if given.get(option) is not None:
                    raise ValueError(cls.stray(name, kind, option))
        return {key: value for key, value in given.items() if key not in taken} | nested

    @classmethod
    def _as_written(cls, error: ErrorDetails, given: dict[str, Any]) -> InitErrorDetails:
        """The error at the place where its key is written."""
        place, message, wrong = error["loc"], error["msg"], error["input"]
        if place and place[0] in cls.choices:
            choice, *rest = place
            kinds = cls.choices[str(choice)].kinds
            if error["type"] == "union_tag_invalid":
                wrong = given[str(choice)]
                message = f"there is no {choice} '{wrong}'; {nearest(str(wrong), kinds)}"
            elif len(place) > 1:
                place = tuple(rest[1:] if rest[0] in kinds else rest)
        found = PydanticCustomError(error["type"], "{message}", {"message": message})  # type: ignore[arg-type]
        return InitErrorDetails(type=found, loc=place, input=wrong)

    @model_serializer(mode="wrap")
    def _write(self, fields: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Every option of every kind, null where it is not of the chosen one; without the nulls for `exclude_none`."""
        written: dict[str, Any] = {}
        for name, value in fields(self).items():
            if name in self.choices:
                options = dict(value)
                kind = options.pop("kind")
                written |= {} if name in self.implied else {name: kind}
                written |= dict.fromkeys(self.choices[name].options) | options
            else:
                written[name] = value
        unwritten = written.keys() if info.exclude_none else self.sparse
        return {name: value for name, value in written.items() if value is not None or name not in unwritten}
