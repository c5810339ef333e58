"""One writer for each store. The lock is the operating system's (flock), so it vanishes with the process that held it;
the file beside the store only says who that is.

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


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Holds the lock for the block. Raises StoreError, naming the holder's host and pid, when another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            store = path.name.removesuffix(".lock")
            raise StoreError(
                f"{path.with_name(store)} is being written by {holder}; wait for it to end, or stop it."
            ) from None
        file.truncate(0)
        file.write(f"{socket.gethostname()} (pid {os.getpid()})\n")
        file.flush()
        yield
        file.truncate(0)
