"""One writer for each store. The lock is the operating system's and vanishes with the process that held it.

It is a POSIX record lock, which a forked worker does not inherit, so a writer's orphans cannot keep it; and since such
a lock does not keep out its own process, held ones are remembered here. The file only says who the holder is.

    with writer_lock(Path("caches/pocket/clip.h5.lock")):
        ...
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_cache.errors import StoreError

_held: set[Path] = set()


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Holds the lock for the block. Raises StoreError, naming the holder's host and pid, when it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    if path in _held:
        raise StoreError(_taken(path))
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise StoreError(_taken(path)) from None
        _held.add(path)
        try:
            file.truncate(0)
            file.write(f"{socket.gethostname()} (pid {os.getpid()})\n")
            file.flush()
            yield
            file.truncate(0)
        finally:
            _held.remove(path)


def _taken(path: Path) -> str:
    holder = path.read_text().strip() or "another process"
    store = path.with_name(path.name.removesuffix(".lock"))
    return f"{store} is being written by {holder}; wait for it to end, or stop it."
