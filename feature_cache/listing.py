"""What lies in a folder of stores, the damaged and the unfinished ones too.

for path in find_stores(Path("features")):
    print(describe(path))
"""

import os
from dataclasses import dataclass
from pathlib import Path

from feature_cache.errors import StoreError
from feature_cache.lock import writer_of
from feature_cache.store import FeatureStore
from feature_cache.writer import PARTS, written_files


@dataclass(frozen=True)
class Listed:
    """One store of a folder. `store`: what could be opened, of an unfinished one its first part; `parts`: how many wait
    to be merged; `bytes`: size on disk, parts included; `writer`: host and pid of who is writing it; `problem`: why it
    cannot be opened."""

    path: Path
    store: FeatureStore | None
    parts: int
    bytes: int
    writer: str | None
    problem: str | None


def find_stores(folder: Path) -> list[Path]:
    """Paths of all stores below a folder, sorted; also of those of which only parts exist."""
    found: set[Path] = set()
    for place, folders, files in os.walk(folder, onerror=_refuse):
        unfinished = [name for name in folders if name.endswith(f".h5{PARTS}")]
        folders[:] = [name for name in folders if name not in unfinished]
        names = [name.removesuffix(PARTS) for name in unfinished]
        names += [name for name in files if name.endswith(".h5") and not name.startswith(".")]
        found |= {Path(place, name) for name in names}
    return sorted(path for path in found if written_files(path))


def _refuse(error: OSError) -> None:
    """A folder that is not there has no stores; of one that cannot be looked into nobody knows."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise StoreError(
            f"{error.filename} cannot be looked into ({error.strerror}); ask for the right to it."
        ) from error


def describe(path: Path) -> Listed:
    """Opens a store as far as that is possible. Raises StoreError when there is neither a store nor a part."""
    files = written_files(path)
    if not files:
        raise StoreError(f"There is neither a feature store nor a part of one at {path}.")
    parts = len(files) - path.exists()
    try:
        store, problem = FeatureStore(files[0]), None
        _ = store.failed
    except StoreError as error:
        store, problem = None, str(error)
    return Listed(path, store, parts, sum(map(_size, files)), writer_of(path), problem)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a part that was merged meanwhile
        return 0
