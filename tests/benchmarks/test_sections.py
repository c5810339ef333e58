"""What a benchmark has found stays, whatever becomes of its process."""

import time

import pytest

from benchmarks.results import Figure
from benchmarks.sections import Size, run

FOUND = [Figure(what="of 3 rounds", value=1.0, unit="s")]


@pytest.mark.parametrize(
    ("then", "error"), [("end", None), ("fail", "RuntimeError: the machine is on fire"), ("hang", "ended after 3 s")]
)
def test_what_was_found_is_kept_beside_the_error(then: str, error: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEN", then)
    start = time.monotonic()
    section = run("given", "tests.benchmarks.given", Size(rounds=3), limit=3 if then == "hang" else 60)
    assert section.results == FOUND
    assert section.error.splitlines()[-1:] == ([error] if error else [])
    assert section.command == "python -m benchmarks.sections tests.benchmarks.given --device=cpu --rounds=3"
    assert time.monotonic() - start < 50  # its children were ended with it
