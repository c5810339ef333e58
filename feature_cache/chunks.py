"""The features' chunks as they lie in the file, read and written past HDF5's slow checksum and its one lock.

The bytes are HDF5's, its Fletcher-32 at the end of each chunk included. Reading runs in threads; rows whose checksum is
not right are never handed on.

    reader = ChunkReader(dataset(file, "features"))
    reader.between(1000, 2000)             # (1000, D)
    writer = ChunkWriter(dataset(new, "features"))
    writer.append(rows)
    writer.close()
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np

from feature_cache.fletcher import Fletcher32

CHECKSUM_BYTES = 4
CHUNKS_PER_TASK = 8
THREADS = min(8, os.cpu_count() or 1)


class ChunkReader:
    """The chunks of the features of an open file; `starts` are their first rows, `step` the rows of each but the last.

    Safe to call from several threads.
    """

    def __init__(self, features: h5py.Dataset) -> None:
        self.rows, self.dim = features.shape
        self.dtype = features.dtype
        self.step = chunk_rows(features)
        self.starts = range(0, self.rows, self.step)
        self._bytes = self.step * self.dim * self.dtype.itemsize
        self._descriptor = features.file.id.get_vfd_handle()
        self._offsets: dict[int, int] = {}
        self._of_thread = threading.local()
        features.id.chunk_iter(self._note)

    def _note(self, chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.filter_mask == 0 and chunk.size == self._bytes + CHECKSUM_BYTES:
            self._offsets[chunk.chunk_offset[0]] = chunk.byte_offset

    def between(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, D): those rows. Raises OSError when a chunk does not match its checksum."""
        result = np.empty((stop - start, self.dim), self.dtype)

        def fill(chunk: int) -> None:
            first, last = max(chunk, start), min(chunk + self.step, stop)
            target = result[first - start : last - start]
            if len(target) == self.step:
                self._read(chunk, target)
            else:
                target[:] = self.chunk(chunk)[first - chunk : last - chunk]

        self.each(range(start - start % self.step, stop, self.step), fill)
        return result

    def chunk(self, start: int) -> np.ndarray:
        """(n, D): the rows of one chunk, in memory that this thread's next call uses again. Raises OSError likewise."""
        if not hasattr(self._of_thread, "scratch"):
            self._of_thread.scratch = np.empty((self.step, self.dim), self.dtype)
        self._read(start, self._of_thread.scratch)
        return self._of_thread.scratch[: self.rows - start]

    def each(self, starts: Sequence[int], work: Callable[[int], None]) -> None:
        """Calls `work` with each of the starts, in threads."""

        def several(first: int) -> None:
            for start in starts[first : first + CHUNKS_PER_TASK]:
                work(start)

        tasks = range(0, len(starts), CHUNKS_PER_TASK)
        if len(tasks) < 2:
            several(0)
            return
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(several, tasks):
                pass

    def _read(self, start: int, rows: np.ndarray) -> None:
        """Fills `rows` (step, D) with a whole chunk."""
        if not hasattr(self._of_thread, "checksum"):
            self._of_thread.checksum = Fletcher32(self._bytes)
        buffer, stored = rows.reshape(-1).view(np.uint8), bytearray(CHECKSUM_BYTES)
        offset = self._offsets.get(start)
        if offset is None or not _read_fully(self._descriptor, buffer.data, memoryview(stored), offset):
            raise OSError(f"the features from row {start:,} on are not in the file")
        if self._of_thread.checksum(buffer) != int.from_bytes(stored, "little"):
            raise OSError(
                f"the features of rows {start:,} to {min(start + self.step, self.rows) - 1:,} do not match "
                "their checksum"
            )


class ChunkWriter:
    """Appends rows to empty features of an open file. What does not fill a chunk waits for more, or for `close`."""

    def __init__(self, features: h5py.Dataset) -> None:
        self._features = features
        self._step = chunk_rows(features)
        self._written = self._waiting = 0
        size = self._step * features.shape[1] * features.dtype.itemsize
        self._checksum = Fletcher32(size)
        self._chunk = np.zeros(size + CHECKSUM_BYTES, np.uint8)
        self._rows = self._chunk[:size].view(features.dtype).reshape(self._step, features.shape[1])

    def append(self, rows: np.ndarray) -> None:
        """Adds (n, D) rows."""
        while len(rows):
            taken = min(self._step - self._waiting, len(rows))
            self._rows[self._waiting : self._waiting + taken] = rows[:taken]
            self._waiting += taken
            rows = rows[taken:]
            if self._waiting == self._step:
                self._write()

    def close(self) -> None:
        """Writes what waits."""
        if self._waiting:
            self._rows[self._waiting :] = 0
            self._write()

    def _write(self) -> None:
        checksum = self._checksum(self._chunk[:-CHECKSUM_BYTES])
        self._chunk[-CHECKSUM_BYTES:] = np.frombuffer(checksum.to_bytes(CHECKSUM_BYTES, "little"), np.uint8)
        self._features.resize(self._written + self._waiting, axis=0)
        self._features.id.write_direct_chunk((self._written, 0), self._chunk)
        self._written += self._waiting
        self._waiting = 0


def chunk_rows(data: h5py.Dataset) -> int:
    """Rows of a chunk."""
    if data.chunks is None:
        raise ValueError(f"{data.name} is not stored in chunks")
    return data.chunks[0]


def _read_fully(descriptor: int, buffer: memoryview, tail: memoryview, offset: int) -> bool:
    """Fills the buffer and the tail from there on; false where the file ends before."""
    while buffer or tail:
        got = os.preadv(descriptor, [buffer, tail], offset)
        if got == 0:
            return False
        offset += got
        buffer, tail = buffer[got:], tail[max(0, got - len(buffer)) :]
    return True
