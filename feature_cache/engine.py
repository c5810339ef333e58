"""Polars at work: with room for its threads, and without its panics on the terminal.

Where the address space runs out (`ulimit -v`), Polars aborts the process, or waits for ever for a thread that could not
start; so it is not asked without room for all of them. When a damaged file makes one of its threads panic, that thread
writes to the file descriptor of standard error, past Python, before Python hears of it; what it writes while it fails
is dropped, as the error says it, and what it writes while it succeeds is passed on.

A process of its own would hold the panics as well, but costs each reading a third of a second and a copy of the table.

    with polars_engine():
        frame = pl.read_parquet(path)       # raises MemoryError, or PolarsError where it panics
"""

import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_cache.disk import uninterrupted
from feature_cache.errors import first_line

STDERR = 2
ROOM = 64 << 20
ROOM_OF_A_CPU = 16 << 20  # the stacks of its threads in three pools, and what their allocator reserves
_one_at_a_time = threading.RLock()


@contextmanager
def polars_engine() -> Iterator[None]:
    """Raises MemoryError where Polars could not start its threads, and PolarsError for its panics."""
    import polars as pl

    require_room()
    with _one_at_a_time, uninterrupted(), _held_back():
        try:
            yield
        except pl.exceptions.PanicException as error:
            raise pl.exceptions.ComputeError(first_line(error)) from error


def require_room() -> None:
    """Raises MemoryError where the address space that is left has no place for threads."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if limit - used < ROOM + ROOM_OF_A_CPU * (os.cpu_count() or 1):
        raise MemoryError("the address space is limited (ulimit -v), and too little of it is left for threads")


@contextmanager
def _held_back() -> Iterator[None]:
    """What is written to standard error's descriptor: kept until the block ends, dropped where it raises."""
    usual = os.dup(STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(usual, STDERR)
            os.close(usual)
        held.seek(0)
        if said := held.read():
            os.write(STDERR, said)
