"""What a reader is given, it reads or refuses in a sentence: a share of the inputs of `make break`."""

import signal
from pathlib import Path
from types import FrameType

import pytest

from tests.conftest import MANY
from tests.faults.formats import FORMATS, OTHERS, PUBLISHED_FORMATS
from tests.faults.fuzz import BAD, INPUTS, drawn, outcome

LONGEST = 60  # seconds, of all inputs of a format
UNSTRUCTURED = ("annotations, matlab",)  # read by a process of its own, and damaged in `make break`


def test_every_format_of_others_is_made_up() -> None:
    assert set(INPUTS) | set(UNSTRUCTURED) == {"store", *OTHERS, *PUBLISHED_FORMATS}


@pytest.mark.parametrize("name", INPUTS)
def test_a_made_up_file_is_read_or_refused_in_a_sentence(
    sources: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sources)

    def check(content: bytes) -> None:
        found, said = outcome(name, content)
        assert found not in BAD, f"{name}: {found} of {content!r}\n{said}"

    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{name}: an input of seed 0 is read for more than {LONGEST} s")

    file = next(iter(sorted(sources.glob(FORMATS[name].file))))
    whole = file.read_bytes()
    usual = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST * (20 if MANY else 1))
    try:
        drawn(name, 0, 300 if MANY else 8, check)
    finally:
        file.write_bytes(whole)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
