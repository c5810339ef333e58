"""The file that HDF5 writes to, the peace in which it does, and what is no file at all.

HDF5 may crash the process when a write fails, so it is never told: the first failure is kept, later writes go nowhere,
and `settle` raises it once HDF5 has closed its side. A signal's handler that raises, as Ctrl-C's does, would run inside
a write, and HDF5 would swallow the exception and the write: `uninterrupted` puts it off.

    with GuardedFile(path) as disk:
        with uninterrupted(), h5py.File(disk, "w") as file:
            ...
        disk.settle()      # raises the OSError of a full disk; otherwise everything is on the disk
"""

import io
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_cache.errors import StoreError


class GuardedFile(io.FileIO):
    """A new file, open for reading and writing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "w+")
        self._failure: BaseException | None = None

    def write(self, data, /) -> int:  # any buffer
        """Writes all of it, or remembers why not."""
        size = memoryview(data).nbytes
        try:
            rest = memoryview(data).cast("B")
            while self._failure is None and len(rest):
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self._failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self._failure = self._failure or error
            return size or 0

    def settle(self) -> None:
        """Raises the first failure; otherwise waits until the disk has everything."""
        if self._failure is not None:
            raise self._failure
        os.fsync(self.fileno())


def require_regular(path: Path) -> None:
    """Raises StoreError for a pipe, which would be waited for, and for a device, which has no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever opens it says so
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise StoreError(f"{path} is no regular file; name one that is.")


def sync(path: Path) -> None:
    """Waits until the disk has the file, or which files are in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """The signals that Python handles are handled when the block has ended. Only the main thread's are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    numbers = sorted(signal.valid_signals(), key=signal.SIGINT.__eq__)
    usual = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    try:
        for number in usual:
            signal.signal(number, lambda number, frame: arrived.append(number))
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(arrived):
            signal.raise_signal(number)
