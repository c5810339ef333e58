import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from feature_cache import StoreError, StoreWriter

SPEC = {"model": "tiny"}

HOLD = """
import sys
sys.path[:0] = sys.argv[2:]
from feature_cache import StoreWriter
with StoreWriter(sys.argv[1], {"model": "tiny"}):
    print("writing", flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen:
    """Another process that is writing the store."""
    command = [sys.executable, "-c", HOLD, str(path), *(entry for entry in sys.path if entry)]
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
