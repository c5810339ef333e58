"""The files of an index: immutable, each with a digest that the manifest keeps and that is checked when it is read.

A file is written under a temporary name, read back whole, and only then takes its name. Whoever has opened it keeps
it, also where the next writer removes it.

    digest = write_file(folder / "000001.npy", npy_blocks(vectors.dtype, vectors.shape, [vectors]))
    CheckedFile(folder / "000001.npy", digest).array()
"""

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from feature_cache import require_regular
from probe.errors import ProbeError
from probe.storage import replacing_file

BLOCK_BYTES = 4 << 20

Write = Callable[[bytes | memoryview], int]


def write_file(path: Path, blocks: Iterable[bytes | memoryview]) -> str:
    """Writes the blocks one after the other, and returns their digest. Raises ProbeError where the disk gives back
    other bytes than it was given."""

    def fill(write: Write) -> None:
        for block in blocks:
            write(block)

    return write_by(path, fill)


def write_by(path: Path, fill: Callable[[Write], object]) -> str:
    """As `write_file`, of what `fill` writes."""
    written = xxhash.xxh3_128()
    with replacing_file(path) as temporary:
        with temporary.open("wb") as file:

            def write(block: bytes | memoryview) -> int:
                written.update(block)
                return file.write(block)

            fill(write)
        with temporary.open("rb") as file:
            if _digest(file) != written.hexdigest():
                raise ProbeError(f"{path}: the disk gives back other bytes than it was given; mend it and start again.")
    return written.hexdigest()


def npy_blocks(dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> Iterator[bytes | memoryview]:
    """The bytes of a .npy file whose rows come block by block."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    yield header.getvalue()
    for block in blocks:
        yield np.ascontiguousarray(block, dtype).data.cast("B")


class CheckedFile:
    """A file, open. Raises ProbeError for one that is not what was written, when it is read; FileNotFoundError."""

    def __init__(self, path: Path, digest: str) -> None:
        require_regular(path)
        self.path, self.digest = path, digest
        self._file = path.open("rb")

    def content(self) -> bytes:
        self._file.seek(0)
        content = self._file.read()
        self._require(xxhash.xxh3_128_hexdigest(content))
        return content

    def array(self) -> np.ndarray:
        """That of a .npy file, left on disk."""
        self.check()
        self._file.seek(0)
        np.lib.format.read_magic(self._file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(self._file)
        return np.memmap(self._file, dtype, "c", self._file.tell(), shape)  # read where it lies, changed nowhere

    def read_by(self, read: Callable[[Callable[[int], bytes]], Any]) -> Any:
        """What `read` makes of the file, which it is given as something to read from."""
        self.check()
        self._file.seek(0)
        return read(self._file.read)

    def check(self) -> None:
        """Reads every byte."""
        self._file.seek(0)
        self._require(_digest(self._file))

    def _require(self, digest: str) -> None:
        if digest != self.digest:
            raise ProbeError(f"{self.path} is not what was written; restore a copy of the index, or make it again.")


def _digest(file: io.BufferedReader) -> str:
    found = xxhash.xxh3_128()
    while block := file.read(BLOCK_BYTES):
        found.update(block)
    return found.hexdigest()
