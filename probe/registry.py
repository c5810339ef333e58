"""The kinds of one thing, such as losses: each a class in a file of its package, with its configuration beside it.

A new file in the package is a new kind; nothing lists them. A user's own is named by `package.module:Class`, and its
options are checked like the built-in ones: by the annotations of its configuration.

    LOSSES = Registry("loss", "probe.losses", Loss)  # in probe/losses/base.py

    @LOSSES.register
    class ArcFace(CosineSoftmax):
        class Config(CosineSoftmax.Config):
            kind: Literal["arcface"] = "arcface"
            margin: Radians = 0.5

    LossConfig = LOSSES.union()                      # of which pydantic makes {"kind": "arcface", "margin": 0.4}
    LOSSES.find("arcface")                           # the class ArcFace
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    Field,
    PydanticUserError,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from probe.errors import UsageError, first_line, nearest
from probe.validation import Strict, with_nearest_keys

Class = TypeVar("Class", bound=type)
Member = TypeVar("Member", bound=type)


class Kind(Strict):
    """A configuration that says of which kind it is. Built-in ones narrow `kind` to a literal."""

    kind: str
    """What recipes call it; of a user's own, `package.module:Class`."""

    @property
    def options(self) -> dict[str, Any]:
        """All but `kind`, by name."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}


class Configurable(type):
    """Of classes with a `Config`: called with options alone they are configured, called with what they are built for
    (the length of features, the number of classes) they are built.

    Linear(dim=64)                     # Linear.Config(dim=64)
    Linear(1152, 64, generator)        # a module
    """

    def __call__(cls, *built_for: Any, **options: Any) -> Any:
        config: type[Kind] = getattr(cls, "Config", Kind)
        if built_for or options.keys() - config.model_fields.keys():
            return super().__call__(*built_for, **options)
        return config(**options)


class Registry(Generic[Class]):
    """The classes of one package that have a `Config` (a Kind).

    `example` makes one from a class and a configuration: that a user's own can be made is known before any work.
    """

    def __init__(
        self, what: str, package: str, base: type, example: Callable[[Any, Any], object] | None = None
    ) -> None:
        self.what = what
        """What one of them is called in messages: `loss`."""
        self._package, self._base, self._example = package, base, example
        self._classes: dict[str, Class] = {}
        self._is_loaded = False

    def register(self, member: Member) -> Member:
        """A decorator; the kind is the default of `Config.kind`."""
        kind = member.Config.model_fields["kind"].default  # type: ignore[attr-defined]
        if kind in self._classes:
            raise ValueError(f"two classes call themselves the {self.what} '{kind}'")
        self._classes[kind] = member  # type: ignore[assignment]
        return member

    def __iter__(self) -> Iterator[Class]:
        """The built-in ones, by kind."""
        return iter(self.kinds.values())

    @property
    def kinds(self) -> dict[str, Class]:
        """The built-in ones, sorted by kind. The first time, it loads every module of the package."""
        if not self._is_loaded:
            folder = Path(sys.modules[self._package].__file__ or "").parent
            for module in pkgutil.iter_modules([str(folder)], f"{self._package}."):
                importlib.import_module(module.name)
            self._is_loaded = True
        return dict(sorted(self._classes.items()))

    def find(self, kind: str) -> Class:
        """The class of a kind. Raises UsageError, with the nearest name, where there is none."""
        if ":" in kind:
            return self._users_own(kind)
        kinds = self.kinds
        if kind not in kinds:
            raise UsageError(f"there is no {self.what} '{kind}'; {nearest(kind, kinds)}")
        return kinds[kind]

    def union(self) -> Any:
        """The type of a configuration: of a built-in kind, told by `kind`, or of a user's own."""
        configs = [member.Config for member in self]
        known: Any = reduce(lambda left, right: left | right, configs)
        if len(configs) > 1:
            known = Annotated[known, Field(discriminator="kind")]
        return Annotated[SerializeAsAny[known], WrapValidator(self._validate)]

    def _validate(self, given: Any, known: ValidatorFunctionWrapHandler) -> Any:
        kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
        if not isinstance(kind, str):
            return known(given)
        try:
            config = self.find(kind).Config  # type: ignore[attr-defined]
        except UsageError as error:
            raise ValueError(str(error)) from error
        if ":" not in kind:
            return known(given)
        try:
            checked = config.model_validate(given)
        except ValidationError as error:
            raise with_nearest_keys(error, config) from error
        except PydanticUserError as error:
            raise ValueError(f"the options of '{kind}' cannot be checked: {first_line(error)}") from error
        self._require_constructor(kind, checked)
        return checked

    def _require_constructor(self, kind: str, config: Any) -> None:
        """Raises ValueError where a user's own class does not take what the built-in ones take."""
        if self._example:
            try:
                self._example(self.find(kind), config)
            except TypeError as error:
                raise ValueError(
                    f"{self.what} '{kind}' cannot be made from its configuration ({first_line(error)}); give its "
                    f"constructor the arguments of {self._base_name}"
                ) from error

    def _users_own(self, name: str) -> Class:
        found = load_own(self.what, name)
        if not isinstance(found, type) or not issubclass(found, self._base):
            raise UsageError(f"{self.what} '{name}' is no {self._base.__name__}; derive it from {self._base_name}.")
        config = getattr(found, "Config", None)
        if not isinstance(config, type) or not issubclass(config, getattr(self._base, "Config", Kind)):
            own = f"{self._base_name}.Config" if hasattr(self._base, "Config") else "probe.registry.Kind"
            raise UsageError(f"{self.what} '{name}' needs a `Config`, the class of its options, derived from {own}.")
        lacking = [each for each in dir(found) if getattr(getattr(found, each), "__isabstractmethod__", False)]
        if lacking:
            raise UsageError(f"{self.what} '{name}' lacks `{lacking[0]}`; define it as {self._base_name} describes it.")
        return found  # type: ignore[return-value]

    @property
    def _base_name(self) -> str:
        module = self._base.__module__
        return f"{self._package if module.startswith(self._package) else module}.{self._base.__name__}"


def load_own(what: str, name: str) -> Any:
    """What a user names by `package.module:Class`. Raises UsageError where it cannot be loaded."""
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where a script of the user's would look too
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # of a module that anybody wrote
        raise UsageError(
            f"{what} '{name}' cannot be loaded ({first_line(error)}); name it as package.module:Class, of the current "
            "folder or installed."
        ) from error
