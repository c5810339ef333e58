"""Polars does not wait for ever where memory is short, and its panics do not reach the terminal."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import polars as pl
import pytest

from feature_cache import StoreError, polars_engine, read_parquet
from tests.faults.mutations import mutate

LIMITED = """
import os, resource, signal, sys, time
from pathlib import Path
import polars as pl
from feature_cache import read_parquet

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for megabytes in map(int, sys.argv[2:]):
    process = os.fork()
    if not process:
        signal.alarm(20)
        resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
        try:
            read_parquet(Path(sys.argv[1]))
        except MemoryError:
            os._exit(7)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"image": ["a.jpg", "b.jpg"] * 20}).write_parquet(path)
    return path


def test_where_the_address_space_has_no_room_for_threads_reading_is_a_memory_error(table: Path) -> None:
    """Polars alone aborts with 12 MB, and waits for a thread that cannot start with some 24 MB."""
    short = [4, 12, 16, 20, 22, 24, 26, 28, 40]
    enough = 1_000 + 16 * (os.cpu_count() or 1)
    words = [sys.executable, "-c", LIMITED, str(table), *map(str, [*short, enough])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["7"] * len(short) + ["0"]
    assert done.stderr == ""


def test_nothing_but_the_error_is_said_of_damaged_files_on_which_polars_panics(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.parquet"
    pl.DataFrame({"image": [f"{i}.jpg" for i in range(20)], "label": [str(i % 3) for i in range(20)]}).write_parquet(
        path
    )
    whole = path.read_bytes()
    for number in range(40):  # Polars 2.1 panics on number 25
        path.write_bytes(mutate(whole, Random(f"{number}")))
        with suppress(StoreError):
            read_parquet(path)
    assert capfd.readouterr().err == ""


def test_a_panic_is_an_error_of_polars() -> None:
    def panic() -> None:
        with polars_engine():
            raise pl.exceptions.PanicException("assertion failed\nmore")

    with pytest.raises(pl.exceptions.PolarsError, match=r"^assertion failed$"):
        panic()


def test_what_is_written_while_polars_succeeds_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with polars_engine():
        os.write(2, b"a warning\n")
    assert capfd.readouterr().err == "a warning\n"
