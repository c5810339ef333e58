import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from feature_cache import StoreError, StoreWriter
from feature_cache.lock import writer_of

SPEC = {"model": "tiny"}

HOLD = """
import sys
sys.path[:0] = sys.argv[3:]
from feature_cache import StoreError, StoreWriter
with StoreWriter(sys.argv[1], {"model": "tiny"}):
    for _ in range(int(sys.argv[2])):
        try:
            StoreWriter(sys.argv[1], {"model": "tiny"}).__enter__()
        except StoreError:
            pass
    print("writing", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path, refused: int = 0) -> subprocess.Popen:
    """Another process that is writing the store, and has tried to write it once more."""
    command = [sys.executable, "-c", HOLD, str(path), str(refused), *(entry for entry in sys.path if entry)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("end", ["killed", "finished"])
def test_a_second_writer_is_refused_by_host_and_pid_until_the_first_has_ended(tmp_path: Path, end: str) -> None:
    path = tmp_path / "store.h5"
    with holder(path) as other:
        said = rf"store.h5 is being written by {re.escape(socket.gethostname())} \(pid {other.pid}\); wait"
        for _ in range(2):
            with pytest.raises(StoreError, match=said), StoreWriter(path, SPEC):
                pass
        if end == "killed":
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
        else:
            other.communicate("\n")
    with StoreWriter(path, SPEC):
        pass


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    said = rf"being written by .*\(pid {os.getpid()}\)"
    with (
        StoreWriter(tmp_path / "store.h5", SPEC),
        pytest.raises(StoreError, match=said),
        StoreWriter(tmp_path / "store.h5", SPEC),
    ):
        pass


def test_a_refused_writer_of_the_same_process_does_not_break_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with holder(path, refused=1) as other:
        with pytest.raises(StoreError, match=f"pid {other.pid}"), StoreWriter(path, SPEC):
            pass
        other.communicate("\n")


def test_the_writer_of_a_store_is_known_while_it_writes_and_not_when_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    assert writer_of(path) is None
    with holder(path) as other:
        assert writer_of(path) == f"{socket.gethostname()} (pid {other.pid})"
        other.kill()
        other.wait()
        assert writer_of(path) is None
    with StoreWriter(path, SPEC):
        assert writer_of(path) == f"{socket.gethostname()} (pid {os.getpid()})"
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_an_error_that_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", refuse)
        with pytest.raises(StoreError, match=r"no locks \(No locks available\); set FEATURE_CACHE_LOCKS to a folder"):
            StoreWriter(tmp_path / "store.h5", SPEC).__enter__()


def test_locks_can_lie_on_another_disk_than_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_CACHE_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "stores").mkdir()
    with holder(tmp_path / "stores" / "store.h5") as other:
        assert not list((tmp_path / "stores").iterdir())
        with pytest.raises(StoreError, match=f"pid {other.pid}"), StoreWriter(tmp_path / "stores" / "store.h5", SPEC):
            pass
        with StoreWriter(tmp_path / "stores" / "another.h5", SPEC):
            pass
        other.communicate("\n")


def test_stores_beside_each_other_are_written_at_the_same_time(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "one.h5", SPEC), StoreWriter(tmp_path / "two.h5", SPEC):
        pass


def test_a_writer_that_fails_on_its_way_in_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    path.write_bytes(b"junk")
    for _ in range(2):
        with pytest.raises(StoreError, match="not an HDF5 file"), StoreWriter(path, SPEC):
            pass
    path.unlink()
    with StoreWriter(path, SPEC):
        pass
