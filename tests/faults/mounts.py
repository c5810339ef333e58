"""Disks that may not be written to, for one process and its children alone: a view of the file system of its own.

Only root may make one, and not in every container: `can_mount` says whether it can be made here.

    own_mounts()                      # in a process of its own
    mount(home)
    mount(home, read_only=True)       # where it was mounted before
"""

import ctypes
import functools
import os
from pathlib import Path

NEW_NAMESPACE, READ_ONLY, REMOUNT, BIND, ALL_BELOW, PRIVATE = 0x20000, 1, 32, 4096, 16384, 1 << 18
LIBC = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> None:
    """What this process mounts from here on is seen by it and its children alone. Raises OSError where it may not."""
    _called("unshare", LIBC.unshare(NEW_NAMESPACE))
    _mount(Path("/"), ALL_BELOW | PRIVATE)


def mount(folder: Path, read_only: bool = False) -> None:
    """The folder over itself; with `read_only`, what is mounted there becomes so."""
    _mount(folder, REMOUNT | BIND | READ_ONLY if read_only else BIND | ALL_BELOW)


@functools.cache
def can_mount() -> bool:
    process = os.fork()
    if process == 0:
        try:
            own_mounts()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0


def _mount(folder: Path, flags: int) -> None:
    name = os.fsencode(folder)
    _called(f"mount {folder}", LIBC.mount(name, name, None, ctypes.c_ulong(flags), None))


def _called(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
