"""The chunks of a column as they lie in the file, each with its digest.

Chunks of the features are read past HDF5 and its one lock, in threads, straight into the result. Rows whose digest is
not right are never handed on. Stores of format 1 have HDF5's checksum in place of digests, and are read by HDF5.

    reader = ChunkReader(dataset(file, "features"), digests)
    reader.between(1000, 2000)             # (1000, D)
    writer = ChunkWriter(dataset(new, "size"))
    writer.append(rows)
    digests = writer.close()
"""

import math
import os
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np

from feature_cache.digests import chunk_digest

CHUNKS_PER_TASK = 8
THREADS = min(8, os.cpu_count() or 1)


class ChunkReader:
    """The chunks of the features of an open file; `starts` are their first rows, `step` the rows of each but the last.

    `digests` (chunks,) uint64, None for a store of format 1. Safe to call from several threads.
    """

    def __init__(self, features: h5py.Dataset, digests: np.ndarray | None) -> None:
        self.rows, self.dim = features.shape
        self.dtype = features.dtype
        self.step = chunk_rows(features)
        self.starts = range(0, self.rows, self.step)
        self._features, self._digests = features, digests
        self._bytes = self.step * self.dim * self.dtype.itemsize
        self._descriptor = features.file.id.get_vfd_handle()
        self._offsets: dict[int, int] = {}
        self._of_thread = threading.local()
        if digests is not None:
            features.id.chunk_iter(self._note)

    def _note(self, chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.filter_mask == 0 and chunk.size == self._bytes:
            self._offsets[chunk.chunk_offset[0]] = chunk.byte_offset

    def between(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, D): those rows. Raises OSError when a chunk does not match its digest."""
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

    def each(self, starts: Sequence[int], work: Callable[[int], object]) -> None:
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
        if self._digests is None:
            self._features.read_direct(rows[: self.rows - start], np.s_[start : start + self.step])
            return
        offset, chunk = self._offsets.get(start), rows.reshape(-1).view(np.uint8)
        if offset is None or not _read_fully(self._descriptor, chunk.data, offset):
            raise OSError(f"the features from row {start:,} on are not in the file")
        if chunk_digest("features", start, chunk) != self._digests[start // self.step]:
            last = min(start + self.step, self.rows) - 1
            raise OSError(f"the features of rows {start:,} to {last:,} do not match their digest")


class ChunkWriter:
    """Appends rows to an empty column of an open file. What does not fill a chunk waits for more, or for `close`."""

    def __init__(self, data: h5py.Dataset) -> None:
        self._data = data
        self._column = column_of(data)
        self._rows = np.zeros((chunk_rows(data), *data.shape[1:]), data.dtype)
        self._waiting = 0
        self._digests: list[int] = []

    def append(self, rows: np.ndarray) -> None:
        """Adds (n, ...) rows."""
        while len(rows):
            taken = min(len(self._rows) - self._waiting, len(rows))
            self._rows[self._waiting : self._waiting + taken] = rows[:taken]
            self._waiting += taken
            rows = rows[taken:]
            if self._waiting == len(self._rows):
                self._write()

    def close(self) -> np.ndarray:
        """Writes what waits; returns the digests (chunks,) uint64 of all that was written."""
        if self._waiting:
            self._write()
        return np.array(self._digests, np.uint64)

    def _write(self) -> None:
        start = len(self._data)
        self._data.resize(start + self._waiting, axis=0)
        self._rows[self._waiting :] = np.zeros((), self._rows.dtype)
        chunk = self._rows.reshape(-1).view(np.uint8)
        if self._data.compression:
            chunk = np.frombuffer(zlib.compress(chunk.data, 1), np.uint8)  # as HDF5 does it
        self._data.id.write_direct_chunk(_offset(self._data, start), chunk)
        self._digests.append(chunk_digest(self._column, start, chunk))
        self._waiting = 0


def read_chunk(data: h5py.Dataset, start: int, digest: int) -> np.ndarray:
    """(n, ...): the rows of one chunk of any column. Raises OSError when it does not match its digest."""
    mask, chunk = data.id.read_direct_chunk(_offset(data, start))
    if mask or chunk_digest(column_of(data), start, chunk) != digest:
        raise OSError(f"the rows from {start:,} on do not match their digest")
    shape = (chunk_rows(data), *data.shape[1:])
    if data.compression:
        size = math.prod(shape) * data.dtype.itemsize
        chunk = zlib.decompressobj().decompress(chunk, size)
    return np.frombuffer(chunk, data.dtype).reshape(shape)[: len(data) - start]


def _offset(data: h5py.Dataset, start: int) -> tuple[int, ...]:
    return (start, *(0 for _ in data.shape[1:]))


def column_of(data: h5py.Dataset) -> str:
    """The name of a dataset at the root."""
    return str(data.name).removeprefix("/")


def chunk_rows(data: h5py.Dataset) -> int:
    """Rows of a chunk."""
    if data.chunks is None:
        raise ValueError(f"{data.name} is not stored in chunks")
    return data.chunks[0]


def _read_fully(descriptor: int, buffer: memoryview, offset: int) -> bool:
    """Fills the buffer from there on; false where the file ends before."""
    while buffer:
        got = os.preadv(descriptor, [buffer], offset)
        if got == 0:
            return False
        offset += got
        buffer = buffer[got:]
    return True
