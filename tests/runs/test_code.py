"""What decides a run's numbers is in its key: a change to that code makes the run stale, and nothing else does."""

from pathlib import Path

import pytest

import probe
from probe.runs.code import _digest, _plain, changed_code

PACKAGE = Path(probe.__file__).parent


def digest_of(folder: Path, text: str) -> str:
    file = folder / "module.py"
    file.write_text(text)
    _digest.cache_clear()
    _plain.cache_clear()
    return _digest(file)


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
