"""Which source files decide a run's numbers, and a digest of each, so that a change to one of them makes the run stale.

A number's files are the entry of fitting, the modules of the kinds that the configuration names, and what these import
from the packages that make numbers. A digest is of the parsed code: comments, docstrings and layout are not in it.

    code_of_run(config)      # {"probe/fit/trainer.py": "3f0c...", "probe/losses/arcface.py": "91ab...", ...}

An `__init__` of probe only passes names on, so it has no digest, and `from probe.losses import build_loss` leads to the
module that defines `build_loss`, never to all losses. A registry finds the files of its package without importing them
by name; the loss that is meant comes in by the configuration, whose class stands in the loss's module.
"""

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import probe
from probe.fit import RunConfig, TrainedConfig
from probe.metrics import METRICS, parse_metric
from probe.source import plain_source, source_digest

MAKING_NUMBERS = ("heads", "losses", "search", "metrics", "fit", "evaluate")
DECLARATIONS = {  # they say what may be configured, which the key has by its values, hold results, or stop a run
    "probe.fit.checkpoint",
    "probe.fit.choices",
    "probe.fit.config",
    "probe.fit.divergence",
    "probe.fit.domains",
    "probe.fit.history",
    "probe.fit.scores",
}
FITTING = "probe.fit.fitted"
SCORING = "probe.metrics.evaluation"
NAMED = 3  # files in a message
OWN = "probe"


def code_of_run(config: RunConfig) -> dict[str, str]:
    """By file, as `probe/losses/arcface.py`: the code that fits and scores a run of this configuration."""
    return code_of([FITTING, *modules_of(config), *scoring_modules(METRICS)], _unused(config))


def code_of(modules: Iterable[str], unused: Iterable[str] = ()) -> dict[str, str]:
    """By file, sorted: the modules, and what they import of those that make numbers, without those that are unused."""
    return dict(_code(frozenset(modules), frozenset(unused)))


def modules_of(config: Any) -> set[str]:
    """The modules of the classes of a configuration and all of its parts, and of the user's own kinds in it."""
    if isinstance(config, BaseModel):
        own = {type(config).__module__}
        kind = getattr(config, "kind", None)
        if isinstance(kind, str) and ":" in kind:
            own.add(kind.partition(":")[0])
        return own.union(*(modules_of(getattr(config, name)) for name in type(config).model_fields))
    parts = config.values() if isinstance(config, Mapping) else config if isinstance(config, list | tuple) else ()
    return set().union(*map(modules_of, parts))


def changed_code(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str | None:
    """What of the code is not as it was, as `losses/arcface.py`; None where all is. `before`: None where a run of an
    earlier version of probe does not say."""
    if before is None:
        return OWN
    files = sorted({file for file, _ in before.items() ^ now.items()})
    if not files:
        return None
    names = [file.removeprefix(f"{OWN}/") for file in files]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def scoring_modules(metrics: Iterable[str]) -> set[str]:
    """The modules that search and compute these metrics."""
    return {SCORING, *(type(parse_metric(name)).__module__ for name in metrics)}


def _unused(config: RunConfig) -> list[str]:
    """Modules that fitting imports, and does nothing with under this configuration."""
    if not isinstance(config, TrainedConfig):
        return ["probe.fit.trainer"]
    options = {"probe.fit.distillation": config.distillation, "probe.fit.sharpness": config.training.sharpness}
    return [module for module, option in options.items() if option is None]


@cache
def _code(roots: frozenset[str], unused: frozenset[str]) -> tuple[tuple[str, str], ...]:
    packages = {root.partition(".")[0] for root in roots} | {OWN}
    folders = {folder for package in packages - {OWN} if (folder := _folder(package))}
    todo, found, passed = set(roots), dict[str, tuple[str, str]](), set(unused)
    while todo:
        module = todo.pop()
        file = _file(module)
        if module in passed or file is None or not _decides(module, file, packages, folders):
            continue
        passed.add(module)
        imports = _imports(module)
        if _only_passes_on(module, file):  # imported as a whole, so anything of it may be used
            imports = [(source, alias.name) for source, alias in _passed_on(module, file)]
        else:
            found[module] = _name(module, file), source_digest(file)
        todo |= {each for name in imports for each in _defining(*name)}
    return tuple(sorted(found.values()))


def _decides(module: str, file: Path, packages: set[str], folders: set[Path]) -> bool:
    """Whether it is of a package that makes numbers, of a user's own, or beside that."""
    package, *rest = module.split(".")
    if package != OWN:
        return package in packages or (not _is_installed(file) and any(map(file.is_relative_to, folders)))
    return bool(rest) and rest[0] in MAKING_NUMBERS and module not in DECLARATIONS


def _folder(package: str) -> Path | None:
    """Where a user's module or package lies; None where that is among installed ones."""
    file = _file(package)
    if file is None or _is_installed(file):
        return None
    return file.parent.parent if file.name == "__init__.py" else file.parent


def _is_installed(file: Path) -> bool:
    return "site-packages" in file.parts


def _only_passes_on(module: str, file: Path | None) -> bool:
    """Whether it is an `__init__` of probe."""
    return file is not None and file.name == "__init__.py" and module.partition(".")[0] == OWN


@cache
def _imports(module: str) -> Sequence[tuple[str, str | None]]:
    """Modules that it imports, and of each the name that it takes from there: None for the module as a whole."""
    file = _file(module)
    if file is None or file.suffix != ".py":
        return []
    nodes = list(ast.walk(plain_source(file)))
    whole = [(alias.name, None) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    of_names = [
        (_absolute(node, module, file), alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return [*whole, *of_names]


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parent = parts[: len(parts) - node.level + (file.name == "__init__.py")]
    return ".".join([*parent, *([node.module] if node.module else [])])


def _defining(module: str, name: str | None) -> Iterator[str]:
    """The modules that an import leads to."""
    file = _file(module)
    if name is not None and _file(f"{module}.{name}") is not None:
        yield f"{module}.{name}"
    elif file is None or name is None or not _only_passes_on(module, file):
        yield module
    else:
        passed_on = {alias.asname or alias.name: (source, alias.name) for source, alias in _passed_on(module, file)}
        if name in passed_on:
            yield from _defining(*passed_on[name])
        elif "def __getattr__(" in file.read_text(encoding="utf-8"):  # lazy, and told to nobody
            yield getattr(getattr(importlib.import_module(module), name, None), "__module__", module)


def _passed_on(module: str, file: Path) -> Iterator[tuple[str, ast.alias]]:
    """What an `__init__` imports, for type checkers too: where it is lazy, only they are told."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            yield from ((_absolute(node, module, file), alias) for alias in node.names)


@cache
def _file(module: str) -> Path | None:
    """Where its source is: for packages their `__init__`; None for what is neither probe's nor loaded."""
    first, *rest = module.split(".")
    top = probe if first == OWN else sys.modules.get(first)
    if top is None:
        return None
    if not rest:
        file = getattr(top, "__file__", None)
        return Path(file) if file else None
    for folder in map(Path, getattr(top, "__path__", ())):
        path = folder.joinpath(*rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    loaded = getattr(sys.modules.get(module), "__file__", None)  # compiled
    return Path(loaded) if loaded else None


def _name(module: str, file: Path) -> str:
    """`probe/losses/arcface.py`."""
    parts = module.split(".")
    path = [*parts, file.name] if file.stem == "__init__" else [*parts[:-1], file.name]
    return "/".join(path)
