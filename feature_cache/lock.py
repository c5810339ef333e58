"""One writer for each store. The lock is the operating system's and vanishes with the process that held it.

It is a POSIX record lock, which a forked worker does not inherit, so a writer's orphans cannot keep it. Such a lock
does not keep out its own process, and is lost when that process closes the file anywhere: so held ones are remembered
here, and never opened again. The file only says who the holder is; one that a killed process left is taken over. Our own, since the package `filelock`
does not say which host and process hold its lock, and its lock is one that forked workers inherit.

    with writer_lock(Path("features/pocket/clip.h5")):
        ...
"""

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from feature_cache.errors import StoreError

ELSEWHERE = "FEATURE_CACHE_LOCKS"  # environment variable: a folder for the locks, where the stores' disk has none

PATIENCE = 0.5  # seconds until a lock counts as taken: one who asks for the writer's name (`writer_of`) has it briefly

_held: set[Path] = set()


@contextmanager
def writer_lock(store: Path) -> Iterator[None]:
    """Holds the store's lock for the block.

    Raises StoreError when it is taken, naming the holder's host and pid, and where the file system has no locks.
    """
    path = _lock_path(store)
    if path in _held:
        raise _taken(store, _me())
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, store) as file:
        _held.add(path)
        try:
            with suppress(OSError):  # a full disk takes no name, and the lock holds all the same
                file.truncate(0)
                file.write(_me().encode())
            yield
        finally:
            _held.remove(path)
            path.unlink(missing_ok=True)


def writer_of(store: Path) -> str | None:
    """Host and pid of the process that is writing the store, None when nobody is."""
    path = _lock_path(store)
    if path in _held:
        return _me()
    try:
        with path.open("r+b", buffering=0) as file:
            return None if _try_lock(file, store) else _holder(file)
    except OSError:  # no lock, or not ours to ask for
        return None


def _locked(path: Path, store: Path) -> FileIO:
    give_up = time.monotonic() + PATIENCE
    while True:
        file = path.open("a+b", buffering=0)
        try:
            if _try_lock(file, store):
                with suppress(FileNotFoundError):
                    if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                        return file
                # the last holder removed the file between our opening and our locking it
            elif time.monotonic() > give_up:
                raise _taken(store, _holder(file))
            else:
                time.sleep(PATIENCE / 50)
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: FileIO, store: Path) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise StoreError(
            f"{store} cannot be locked, its file system has no locks ({error.strerror}); set {ELSEWHERE} to a folder "
            "that has them, such as one on a local disk, which keeps out other writers of this machine only."
        ) from error
    return True


def _lock_path(store: Path) -> Path:
    store = store.resolve()
    if folder := os.environ.get(ELSEWHERE):
        return Path(folder).resolve() / f"{hashlib.sha256(os.fsencode(store)).hexdigest()[:16]}.lock"
    return store.with_name(f"{store.name}.lock")


def _taken(store: Path, holder: str) -> StoreError:
    return StoreError(f"{store} is being written by {holder}; wait for it to end, or stop it.")


def _holder(file: FileIO) -> str:
    file.seek(0)
    return file.read().decode().strip() or "another process"


def _me() -> str:
    return f"{socket.gethostname()} (pid {os.getpid()})"
