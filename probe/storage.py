"""The one way in which files and folders of probe appear: whole, or not at all.

What is written goes under a temporary name beside its place, is brought to the disk, and is then renamed. A process
that is killed leaves at most that temporary name, which the next writer of the same path removes. Where the address
space is limited and nearly used up, nothing is begun (MemoryError): the writers' threads would wait for ever.

    write_whole(path, b"...")
    with replacing_file(path) as temporary:     # for writers that take a path
        frame.write_parquet(temporary)
    with new_folder(path) as folder:            # replaces the folder that is there
        (folder / "a.txt").write_text("...")
"""

import glob
import os
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from feature_cache import require_room, sync

WRITER = re.compile(r"(?P<host>[^.]*)-(?P<process>[0-9]+)")  # the end of a temporary name: whose it is
SYNCS = 16  # files on their way to the disk at once, which journals take together


def write_whole(path: Path, content: bytes) -> None:
    """The file has all of this content, or stays as it was. Its folder has to exist."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes its place at `path` when the block ends well. Its folder has to exist."""
    require_room()
    temporary = _temporary(path)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes its place at `path` when the block ends well.

    An earlier folder there is replaced as a whole: a kill can leave none for a moment, but never parts of two.
    """
    require_room()
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        with ThreadPoolExecutor(SYNCS) as pool:
            list(pool.map(sync, (file for file in temporary.rglob("*") if file.is_file())))
        earlier = path.with_name(f".{path.name}.earlier.{_writer()}")
        if path.exists():
            path.rename(earlier)
        temporary.rename(path)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` that is this process's own; those of dead processes of this machine are removed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        writer = WRITER.fullmatch(left.name.removeprefix(f".{path.name}.").removeprefix("earlier."))
        if writer and writer["host"] == _host() and not _is_running(int(writer["process"])):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{_writer()}")


def _writer() -> str:
    """`node7-4711`: on a shared disk, another machine's process may have the same number."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    return socket.gethostname().partition(".")[0][:32]


def _is_running(process: int) -> bool:
    """False for this process: what it left under its own number, it is no longer writing."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
