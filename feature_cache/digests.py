"""The digest of every chunk of every column: 64 bits of its column, its place and its content, at memory speed.

A hole of zeros, two chunks that changed places and a flipped bit do not match. The seal is a digest of all of them, of
what is counted and of the spec, so that the digests cannot be another file's.

    chunk_digest("features", 4096, chunk)      # of the chunk whose first row is 4096, as it lies in the file
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

COLUMNS = ("features", "id", "size", "content", "failed")


def chunk_digest(column: str, start: int, chunk: Any) -> int:
    """Of the bytes of a chunk, a contiguous buffer, compressed where the column is, whose first row is `start`."""
    return xxhash.xxh3_64_intdigest(chunk, (COLUMNS.index(column) + 1) << 56 | start)


def seal(about: str, digests: Mapping[str, np.ndarray]) -> str:
    """128 bits, as hex digits. `digests`: by column (chunks,) uint64; `about`: what else is to be unharmed."""
    whole = xxhash.xxh3_128(about.encode())
    for column in COLUMNS:
        whole.update(column.encode())
        whole.update(digests[column].astype("<u8").tobytes())
    return whole.hexdigest()
