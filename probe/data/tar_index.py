"""Where the members of a tar lie, kept beside the feature stores, so that its headers are read once.

An index is one of a tar's path, size and time of change, and has a digest of its own; one that is damaged, or of what
the tar was before, counts as not there. Each member has a digest of its header, which is compared when it is read: so a
tar that was replaced by one of the same size and time is noticed. Small tars are read faster than looked up.

    keep(Path("shard-0000.tar"), status, places)
    kept(Path("shard-0000.tar"), status)          # the same places; None where there is no sound index
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from probe.storage import write_whole
from probe.workspace import Workspace

FOLDER = "tars"  # of the feature cache that the environment names
FEWEST = 1_000  # members that make an index worth a file


class Place(NamedTuple):
    """Of a member."""

    offset: int
    size: int
    header: int
    """64-bit xxh3 of the block before its first byte."""


def header_digest(block: bytes) -> int:
    return xxhash.xxh3_64_intdigest(block)


def keep(tar: Path, status: os.stat_result, places: dict[str, Place]) -> None:
    """Writes the index; where that cannot be done, the tar is read anew next time."""
    if len(places) < FEWEST:
        return
    content = json.dumps({"of": _identity(tar, status), "members": places}).encode()
    with suppress(OSError, MemoryError):
        file = index_file(tar)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, xxhash.xxh3_128_hexdigest(content).encode() + b"\n" + content)


def kept(tar: Path, status: os.stat_result) -> dict[str, Place] | None:
    try:
        digest, _, content = index_file(tar).read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest != xxhash.xxh3_128_hexdigest(content).encode():
        return None
    found = json.loads(content)
    if found["of"] != _identity(tar, status):
        return None
    return {name: Place(*place) for name, place in found["members"].items()}


def index_file(tar: Path) -> Path:
    named = hashlib.sha256(os.fsencode(tar.resolve())).hexdigest()[:16]
    return Workspace.named(None, None, None).cache / FOLDER / f"{named}.index"


def _identity(tar: Path, status: os.stat_result) -> list[Any]:
    return [os.fsencode(tar.resolve()).hex(), status.st_size, status.st_mtime_ns]
