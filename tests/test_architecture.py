"""The house is as docs/architecture.md has it: data flows one way, the store stands alone, nothing heavy is early."""

import ast
import importlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# In the order in which the data flows; a package may import those before it. Retrieval scores what fit trains, and
# extraction's joins feed both.
ORDER = ["data", "backbones", "extract", "search", "heads", "losses", "metrics", "fit", "runs", "evaluate", "recipes"]
ORDER += ["planning", "report", "embed", "export", "index", "serve", "api", "commands", "cli"]
EXPORTING = ["feature_cache", *(f"probe.{name}" for name in ORDER if name not in ("commands", "cli"))]


@cache
def statements(file: Path) -> list[ast.Import | ast.ImportFrom]:
    """What the file imports, wherever in it."""
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(file: Path) -> set[str]:
    nodes = statements(file)
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "probe" and len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.parametrize("name", ORDER)
def test_nothing_downstream_is_imported_upstream(name: str):
    files = [ROOT / "probe" / "cli.py"] if name == "cli" else sorted((ROOT / "probe" / name).rglob("*.py"))
    assert files
    for file in files:
        for module in imports(file):
            imported = package(module)
            assert imported is None or ORDER.index(imported) <= ORDER.index(name), f"{file} imports {module}"


def test_what_everything_uses_imports_none_of_the_pipeline():
    for file in (ROOT / "probe").glob("*.py"):
        if file.name not in ("cli.py", "__main__.py"):
            assert not {module for module in imports(file) if package(module)}, file


@pytest.mark.parametrize("name", EXPORTING)
def test_others_import_only_what_a_package_exports(name: str):
    exported = set(importlib.import_module(name).__all__)
    own = ROOT / name.replace(".", "/")
    files = [file for folder in ("probe", "benchmarks", "feature_cache") for file in (ROOT / folder).rglob("*.py")]
    for file in files:
        for node in statements(file) if not file.is_relative_to(own) else ():
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith(f"{name}.")], file
            elif f"{node.module}.".startswith(f"{name}."):
                assert node.module == name, f"{file} imports a module, {node.module}"
                assert {alias.name for alias in node.names} <= exported, f"{file} imports what {name} does not export"


@pytest.mark.parametrize("name", EXPORTING)
def test_all_that_a_package_exports_is_there(name: str):
    package = importlib.import_module(name)
    assert all(hasattr(package, exported) for exported in package.__all__)


def test_the_feature_store_imports_nothing_of_probe():
    for file in (ROOT / "feature_cache").glob("*.py"):
        assert not {module for module in imports(file) if module.split(".")[0] == "probe"}, file


def test_no_heavy_library_is_imported_before_a_command_needs_it():
    code = (
        "import sys, probe.cli; print([m for m in ('torch', 'timm', 'polars', 'h5py', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", ["--help", "data list", "cache list", "backbones"])
def test_a_command_that_needs_no_pytorch_does_not_load_it(words: str, tmp_path: Path):
    code = (
        "import sys; from probe.cli import app\n"
        f"try: app({words.split()!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print([m for m in ('torch', 'timm') if m in sys.modules])"
    )
    places = {"PROBE_DATA_ROOT": str(tmp_path), "PROBE_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | places
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_on_windows_which_has_no_fcntl_a_sentence_names_what_works():
    code = (
        "import sys; sys.modules |= {'fcntl': None, 'resource': None}; sys.argv = ['probe', 'table'];"
        "from probe.cli import main; sys.platform = 'win32'; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: probe runs on Linux and macOS; on Windows, install it inside of WSL.\n"
