"""YAML that others wrote: what would never end, or end the process, is one sentence."""

from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.validation import DEEPEST, parse_yaml, read_keys

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 50_000, f"nested more than {DEEPEST} deep"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, f"nested more than {DEEPEST} deep"),
        (LAUGHS, "with its aliases written out it has more than"),
        ("a: &a [*a]", r"\*a is nothing that ended before it"),
        ("a: *nowhere", r"\*nowhere is nothing that ended before it"),
    ],
    ids=["deep lists", "deep keys", "laughs", "a list of itself", "an alias of nothing"],
)
def test_what_is_too_deep_or_too_often_is_a_value_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "title: T\nrows\n  - x\na: 1",
            "^line 4, column 1: could not find .* ':', while scanning .* begins in line 2$",
        ),
        (
            "a:\n\tb: 1",
            r"^line 2, column 1: found character that cannot start any token \(a tab; indent with blanks\)$",
        ),
        ("a: b: c", "^line 1, column 5: mapping values are not allowed in this context$"),
        ("a: [1, 2\nb: 3", r"^line 2, column 2: did not find expected ',' or '\]', while .* that begins in line 1$"),
        ("a: }", r"^line 1, column 4: did not find expected node content"),
        ("{\n", r"^line 2, column 1: did not find expected node content"),
        ("a: 'x\nb: 1", "^line 2, column 5: found unexpected end of stream, while .* that begins in line 1$"),
    ],
)
def test_an_error_has_line_column_and_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_yaml(text)


def test_aliases_and_merges_as_people_write_them_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}") == {"a": {"x": 1}, "b": {"x": 1, "y": [{"x": 1}] * 2}}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    from feature_cache import StoreError

    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises((UsageError, StoreError), match="is no regular file"):
        read_keys(tmp_path / "recipe.yaml", "a recipe")


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\r", "\n"])
def test_an_error_behind_any_end_of_a_line_has_its_place(end: str) -> None:
    with pytest.raises(ValueError, match="line 4, column 1"):
        parse_yaml(f"a: 1{end}b: 2{end}c{end}: [")
