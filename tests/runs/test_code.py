"""What decides a run's numbers is in its key: a change to that code makes the run stale, and nothing else does."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import probe
from probe.fit import RunConfig, read_run_config
from probe.runs.code import MAKING_NUMBERS, changed_code, code_of, code_of_run, scoring_modules
from probe.source import plain_source, source_digest

PACKAGE = Path(probe.__file__).parent


def digest_of(folder: Path, text: str) -> str:
    file = folder / "module.py"
    file.write_text(text)
    source_digest.cache_clear()
    plain_source.cache_clear()
    return source_digest(file)


CODE = '''"""A module."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Loss:
    """A loss."""

    margin: float = 0.5
    """In radians."""

    def forward(self, cosines: "torch.Tensor") -> "torch.Tensor":
        """The loss."""
        return cosines - self.margin  # of all
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""A module."""', '"""Another text."""'),
        ("    margin: float = 0.5\n", "    margin: float = (\n        0.5\n    )\n"),
        ('    """In radians."""\n', ""),
        ("  # of all", ""),
        ('        """The loss."""\n', ""),
        ("    import torch\n", "    import torch\n    import numpy\n"),
    ],
)
def test_comments_docstrings_layout_and_imports_for_type_checkers_are_not_in_a_digest(
    before: str, after: str, tmp_path: Path
) -> None:
    assert before in CODE
    assert digest_of(tmp_path, CODE.replace(before, after)) == digest_of(tmp_path, CODE)


@pytest.mark.parametrize(
    ("before", "after"), [("0.5", "0.4"), ("cosines - ", "cosines + "), ("margin: float", "margin: int")]
)
def test_what_the_code_does_is_in_a_digest(before: str, after: str, tmp_path: Path) -> None:
    assert digest_of(tmp_path, CODE.replace(before, after)) != digest_of(tmp_path, CODE)


def test_a_function_of_a_docstring_alone_has_a_digest(tmp_path: Path) -> None:
    assert digest_of(tmp_path, 'def f():\n    """Nothing."""\n') == digest_of(tmp_path, "def f():\n    pass\n")


def test_changed_files_are_named_three_at_most() -> None:
    now = {f"probe/losses/{name}.py": "new" for name in "abcde"}
    assert changed_code(now, now) is None
    assert changed_code(None, now) == "probe"
    assert changed_code(now | {"probe/losses/a.py": "old"}, now) == "losses/a.py"
    assert changed_code({}, now) == "losses/a.py, losses/b.py, losses/c.py and 2 more"
    assert changed_code(now | {"mine/loss.py": "gone"}, now) == "mine/loss.py"


def config(loss: str | None, **training: object) -> RunConfig:
    if loss is None:
        return read_run_config({"backbone": "b", "head": {"kind": "pca-whitening"}})
    return read_run_config(
        {"backbone": "b", "head": {"kind": "linear"}, "loss": {"kind": loss}, "training": {"epochs": 2} | training}
    )


def files(loss: str | None, **training: object) -> set[str]:
    return {file.removeprefix("probe/") for file in code_of_run(config(loss, **training))}


def test_a_run_depends_on_its_own_loss_head_and_sampler_and_on_no_others() -> None:
    arcface, softmax, pca = files("arcface"), files("softmax"), files(None)
    assert "losses/arcface.py" in arcface - softmax
    assert "losses/softmax.py" in softmax - arcface
    assert "heads/linear.py" in arcface & softmax
    assert "heads/pca.py" in pca - arcface
    assert not {file for file in pca if file.startswith("losses/")}
    assert "fit/samplers/dynamic.py" in files("arcface", sampler="dynamic") - arcface
    assert "fit/optimizers/sgd.py" in files("arcface", optimizer="sgd") - arcface
    assert "fit/schedules/constant.py" in files("arcface", schedule="constant") - arcface
    assert "fit/sharpness.py" in files("arcface", sharpness=0.05) - arcface
    assert "losses/adacos.py" not in arcface | softmax


def test_every_run_depends_on_what_fits_searches_and_scores_it() -> None:
    for loss in ("arcface", None):
        assert files(loss) >= {"fit/fitted.py", "fit/data.py", "fit/embedding.py", "search/exact.py"}
        assert files(loss) >= {"metrics/evaluation.py", "metrics/scores.py", "metrics/definitions/recall.py"}
    assert files("arcface") - files(None) >= {"fit/trainer.py", "fit/objective.py", "fit/samplers/base.py"}


@pytest.mark.parametrize("loss", ["arcface", "dynamic-arcface", "softmax", None])
def test_only_files_of_packages_that_make_numbers_decide_any(loss: str | None) -> None:
    for file in files(loss):
        assert file.partition("/")[0] in MAKING_NUMBERS
        assert not file.endswith("__init__.py")
        assert (PACKAGE / file).is_file()


@pytest.mark.parametrize("package", MAKING_NUMBERS)
def test_an_init_of_a_package_that_makes_numbers_only_passes_names_on(package: str) -> None:
    """Which is why no digest is made of it."""
    for file in (PACKAGE / package).rglob("__init__.py"):
        for node in ast.parse(file.read_text()).body:
            assert not isinstance(node, ast.ClassDef), file
            assert not isinstance(node, ast.FunctionDef) or node.name == "__getattr__", file


def test_a_loss_of_the_users_own_brings_what_it_imports_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loss.py").write_text(
        "from typing import Literal\n\nfrom probe.losses.cosface import CosFace\n\nfrom .parts import SHIFT\n\n\n"
        "class Mine(CosFace):\n    class Config(CosFace.Config):\n"
        "        kind: Literal['mine.loss:Mine'] = 'mine.loss:Mine'\n        margin: float = SHIFT\n"
    )
    (package / "parts.py").write_text("SHIFT = 0.2\n")
    (package / "unused.py").write_text("SHIFT = 0.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = code_of_run(config("mine.loss:Mine"))
    assert {file for file in found if file.startswith("mine/")} == {"mine/loss.py", "mine/parts.py"}
    assert "probe/losses/cosface.py" in found
    assert "probe/losses/arcface.py" not in found


def test_a_loss_in_a_file_of_its_own_brings_the_files_beside_it_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_loss.py").write_text(
        "from typing import Literal\n\nfrom my_shift import SHIFT\nfrom probe.losses.cosface import CosFace\n\n\n"
        "class Mine(CosFace):\n    class Config(CosFace.Config):\n"
        "        kind: Literal['my_loss:Mine'] = 'my_loss:Mine'\n        margin: float = SHIFT\n"
    )
    (tmp_path / "my_shift.py").write_text("import json\nimport numpy\n\nSHIFT = 0.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = code_of_run(config("my_loss:Mine"))
    assert {file for file in found if not file.startswith("probe/")} == {"my_loss.py", "my_shift.py"}


def test_the_code_of_an_evaluation_is_that_of_search_and_metrics() -> None:
    found = code_of(scoring_modules(["mMP@5"]))
    assert {file.split("/")[1] for file in found} == {"search", "metrics"}
    assert "probe/metrics/definitions/recall.py" in code_of(scoring_modules(["R@1"])).keys() - found.keys()


RECIPE = """
title: two losses
data: sample
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  training: {epochs: 1, warmup_epochs: 0}
  seeds: [0]
rows:
  - {name: ArcFace, loss: {kind: arcface}}
  - {name: Softmax, loss: {kind: softmax}}
"""
STALE = """
from pathlib import Path
from probe.planning import Inventory, Planner
from probe.recipes import read_recipe
from probe.workspace import Workspace
workspace = Workspace(Path("data"), Path("features"), Path("out"))
print(Planner(workspace).status(Inventory(read_recipe(Path("two.yaml")), workspace)).stale)
"""


@pytest.mark.slow
def test_another_formula_makes_the_runs_of_one_loss_stale_and_another_docstring_none(
    tmp_path: Path, small_sample: Path
) -> None:
    """From the command line, in a scratch copy of the package."""
    shutil.copytree(small_sample, tmp_path / "data")
    for package in ("probe", "feature_cache"):
        shutil.copytree(PACKAGE.parent / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "two.yaml").write_text(RECIPE)
    environment = os.environ | {"PROBE_DATA_ROOT": "data", "PROBE_CACHE": "features"}

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    def edit(before: str, after: str) -> None:
        file = tmp_path / "probe" / "losses" / "arcface.py"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))

    fit = ("-m", "probe", "fit", "two.yaml")
    python("-m", "probe", "table", "two.yaml")
    edit('"""The label\'s logit', '# a comment\n    """Another docstring. The label\'s logit')
    edit("cosines = cosines.clamp(-1, 1)", "cosines = cosines.clamp(\n        -1,\n        1,\n    )")
    assert "0 run(s) fitted, 2 already done" in python(*fit)
    edit("shifted = cosines * margin.cos() -", "shifted = 0.99 * cosines * margin.cos() -")
    assert python("-c", STALE).splitlines()[0] == (
        "['stale: 1 run(s) of ArcFace were made by an earlier version of losses/arcface.py']"
    )
    assert "1 run(s) fitted, 1 already done" in python(*fit)
