"""What one request, and all of them together, may take of this machine.

Limits(upload_bytes=5 << 20, seconds=10)
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    upload_bytes: int = 25 << 20
    """Of an uploaded file."""
    held_bytes: int = 512 << 20
    """Of all uploads that are being received or waiting to be decoded."""
    pixels: int = 50_000_000
    """Of an uploaded image, counted before it is decoded."""
    elongation: int = 100
    """Longer side to shorter one, of an image or a part: a backbone's preprocessing enlarges the shorter one."""
    seconds: float = 30
    """For an upload to arrive, and again for its answer."""
    threads: int = min(os.cpu_count() or 1, 8)
    """That decode, embed and read images."""
    waiting: int = 2048
    """Requests that wait for a thread; those that come then are refused."""
    hits: int = 100
    """Of a search."""
    condition: int = 500
    """Characters of a filter."""
