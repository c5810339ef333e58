"""Source code without what decides nothing, and its digests: what is recomputed when code changes goes by them.

Comments, docstrings, layout and imports for type checkers are not in a digest, so that to change them makes nothing
stale. The code of a module is that of its file and of what it imports: of probe, what `of_probe` says; of others, what
is of the same package, or lies in the same folder.

    source_digest(Path("probe/losses/arcface.py"))      # 64 hex digits
    code_of(["my_loss"], of_probe=makes_numbers)        # {"my_loss.py": "91ab...", "my_shift.py": "3f0c...", ...}

An `__init__` of probe only passes names on, so it has no digest, and `from probe.losses import build_loss` leads to the
module that defines `build_loss`, never to all losses.
"""

import ast
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

OWN = "probe"


def code_of(modules: Iterable[str], of_probe: Callable[[str], bool], unused: Iterable[str] = ()) -> dict[str, str]:
    """By file, as `probe/losses/arcface.py`, sorted: the code of these modules, without modules that are unused."""
    return dict(_code(frozenset(modules), of_probe, frozenset(unused)))


@cache
def source_digest(file: Path) -> str:
    """Of a Python file, of its plain source; of any other, such as a compiled module, of its bytes."""
    text = ast.unparse(plain_source(file)).encode() if file.suffix == ".py" else file.read_bytes()
    return hashlib.sha256(text).hexdigest()


@cache
def plain_source(file: Path) -> ast.Module:
    """The parsed file, not to be changed."""
    return _Plain().visit(ast.parse(file.read_bytes()))


class _Plain(ast.NodeTransformer):
    """Takes out what decides nothing: texts that stand alone, which are docstrings, and imports for type checkers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        return node.orelse or None if _is_for_type_checkers(node) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _is_for_type_checkers(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _code(
    roots: frozenset[str], of_probe: Callable[[str], bool], unused: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    packages = {root.partition(".")[0] for root in roots} - {OWN}
    folders = {folder for package in packages if (folder := _folder(package))}
    todo, found, passed = set(roots), dict[str, tuple[str, str]](), set(unused)
    while todo:
        module = todo.pop()
        file = _file(module)
        if module in passed or file is None:
            continue
        if not (of_probe(module) if _is_own(module) else _is_of(module, file, packages, folders)):
            continue
        passed.add(module)
        if not _only_passes_on(module, file):
            found[module] = _name(module, file), source_digest(file)
        todo |= _needed(module)
    return tuple(sorted(found.values()))


def _is_own(module: str) -> bool:
    return module.partition(".")[0] == OWN


def _is_of(module: str, file: Path, packages: set[str], folders: set[Path]) -> bool:
    """Whether it is of one of these packages, or lies in one of these folders and is not installed there."""
    return module.partition(".")[0] in packages or (not _is_installed(file) and any(map(file.is_relative_to, folders)))


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
    return file is not None and file.name == "__init__.py" and _is_own(module)


@cache
def _needed(module: str) -> frozenset[str]:
    """The modules that its imports lead to."""
    file = _file(module)
    if file is None or file.suffix != ".py":
        return frozenset()
    # an `__init__` of probe that is imported as a whole: anything of it may be used
    whole = _only_passes_on(module, file)
    imports = _passed_on(module, file).values() if whole else _imports(module, file)
    return frozenset(each for name in imports for each in _defining(*name))


def _imports(module: str, file: Path) -> Sequence[tuple[str, str | None]]:
    """Modules that it imports, and of each the name that it takes from there: None for the module as a whole."""
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
        passed_on = _passed_on(module, file)
        if name in passed_on:
            yield from _defining(*passed_on[name])
        elif "def __getattr__(" in file.read_text(encoding="utf-8"):  # lazy, and told to nobody
            yield getattr(getattr(importlib.import_module(module), name, None), "__module__", module)


@cache
def _passed_on(module: str, file: Path) -> Mapping[str, tuple[str, str]]:
    """What an `__init__` imports, by name: from which module, and what it is called there. For type checkers too:
    where it is lazy, only they are told."""
    return {
        alias.asname or alias.name: (_absolute(node, module, file), alias.name)
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@cache
def _file(module: str) -> Path | None:
    """Where its source is: for packages their `__init__`; None for what is not loaded."""
    first, *rest = module.split(".")
    top = sys.modules.get(first)
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
