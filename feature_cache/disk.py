"""The file that HDF5 writes to. HDF5 may crash the process when a write fails, so it is never told.

The first failure is kept, later writes go nowhere, and `settle` raises it once HDF5 has closed its side.

    with GuardedFile(path) as disk:
        with h5py.File(disk, "w") as file:
            ...
        disk.settle()      # raises the OSError of a full disk; otherwise everything is on the disk
"""

import io
import os


class GuardedFile(io.FileIO):
    """A new file, open for reading and writing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "w+")
        self._failure: OSError | None = None

    def write(self, data, /) -> int:  # any buffer
        """Writes all of it, or remembers why not."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self._failure is None and len(rest):
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def settle(self) -> None:
        """Raises the first failure; otherwise waits until the disk has everything."""
        if self._failure is not None:
            raise self._failure
        os.fsync(self.fileno())
