"""Images read, decoded and prepared in worker processes: batch after batch, in order, a bounded number of them ahead.

What the system says of a file (gone, no rights, no more open files, no memory, no decoder installed) is told apart from
what a decoder says of its bytes: only the latter is a property of the image. Workers only read, decode and assemble.
They never touch Polars (its threads do not survive a fork), and they are nice: where the forward pass is on the same
cores, it goes first and they fill what it leaves.

    with decoded_batches(images, root, encoder.prepare, batch=64, workers=2) as batches:
        for batch in batches:
            batch.ids, batch.prepared, batch.failures
"""

import os
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import Lock
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from probe.data.decoding import MissingDecoderError
from probe.data.images import content_digest, read_image
from probe.errors import ProbeError, UsageError, first_line

NICENESS = 10
OPEN_FILES = 128
OPEN_FILES_OF_WORKER = 16
PAUSES = (0.05, 0.5)  # seconds before an image that was not handed over is asked for again
MOST_WORKERS = 32  # more only wait for the disk or the GPU

Prepare = Callable[[Path | BinaryIO], tuple[np.ndarray, tuple[int, int]]]
"""An image file -> what an encoder takes, and the original's (width, height). Picklable."""


class Undecodable(NamedTuple):
    """An image that a decoder could not read, and why: it never will."""

    id: str
    reason: str


class Unread(NamedTuple):
    """An image that the system did not hand over, in several tries, and why: next time it may."""

    id: str
    reason: str


@dataclass
class ImageBatch:
    """Some images that follow one another."""

    ids: list[str]
    """Of the n images that could be decoded."""
    prepared: torch.Tensor | None
    """(n, ...); None where n is 0."""
    sizes: list[tuple[int, int]]
    """Width and height of the originals, in pixels."""
    contents: list[int]
    """64-bit digests of the files."""
    failures: list[Undecodable]
    """Whose bytes a decoder could not read."""
    unread: list[Unread]
    """Whose bytes the system did not hand over."""
    _piped: np.ndarray | None = None
    """`prepared` on its way from a worker without shared memory."""

    def __len__(self) -> int:
        return len(self.ids) + len(self.failures) + len(self.unread)

    def leave(self) -> None:
        """Made ready for another process: in shared memory; where that has no room, as Docker's 64 MB, in a pipe."""
        if self.prepared is not None:
            try:
                self.prepared.share_memory_()
            except RuntimeError:
                self.prepared, self._piped = None, self.prepared.numpy()

    def arrive(self) -> Self:
        """What `leave` made ready, in the process that asked for it."""
        if self._piped is not None:
            self.prepared, self._piped = torch.from_numpy(self._piped), None
        return self

    def pin_memory(self) -> Self:
        """Called by PyTorch, in a thread of its own, where the forward pass is on a GPU."""
        self.arrive()
        self.prepared = None if self.prepared is None else self.prepared.pin_memory()
        return self


def choose_workers(shared: bool) -> tuple[int, str]:
    """How many processes decode, and why. `shared`: the forward pass is on the same CPUs."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if shared:
        return max(1, cpus // 2), f"half of {cpus} CPUs, which the forward pass needs as well"
    return min(MOST_WORKERS, cpus), f"{cpus} CPUs, which nothing else needs"


@contextmanager
def decoded_batches(
    images: list[str], root: Path, prepare: Prepare, *, batch: int, workers: int, pinned: bool = False
) -> Iterator[Iterator[ImageBatch]]:
    """The images in batches; with 0 workers they are decoded here, when they are asked for, and so is a single batch,
    for which a worker would be started in vain.

    Raises UsageError where the process may not open enough files, ProbeError where a decoding process ends before the
    block does: PyTorch tells of it wherever the main process is.
    """
    batches = _Batches(images, root, prepare, batch)
    workers = min(workers, len(batches)) if len(batches) > 1 else 0
    if workers:
        _require_open_files(workers)
    try:
        if workers:
            Lock()  # PyTorch, where it gets none, tells of half a loader when that is cleared away
        loader: Any = iter(DataLoader(batches, None, num_workers=workers, worker_init_fn=_settle, pin_memory=pinned))
    except OSError as error:  # no locks without /dev/shm
        raise ProbeError(
            f"no decoding process can be started ({first_line(error)}); give this machine a /dev/shm that can be "
            "written to, or decode in the main process with --workers 0."
        ) from error
    try:
        try:
            yield _fetched(loader)
        finally:
            if workers:
                with suppress(RuntimeError):  # PyTorch may tell of a killed process as late as here, when all is over
                    loader._shutdown_workers()  # else it goes on telling as long as a traceback holds the loader
    except RuntimeError as error:  # from any line above: PyTorch tells by a handler of signals
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        raise ProbeError(
            f"a decoding process ended ({first_line(error)}), mostly for want of memory, or as /dev/shm is full "
            "(Docker: --shm-size) or closed; the work so far is kept. Use fewer --workers; with 0 the main process "
            "decodes."
        ) from error


def _fetched(loader: Iterator[ImageBatch]) -> Iterator[ImageBatch]:
    """Each batch is fetched from the process that made it, which may be gone by then."""
    try:
        for batch in loader:
            yield batch.arrive()
    except (OSError, EOFError) as error:
        raise RuntimeError(f"DataLoader worker is gone: {first_line(error)}") from error


def _require_open_files(workers: int) -> None:
    """Each batch on its way takes open files; without enough of them processes wait for ever. Raises UsageError."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OPEN_FILES + workers * OPEN_FILES_OF_WORKER
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        if most != resource.RLIM_INFINITY and most < needed:
            raise UsageError(
                f"this process may open {most:,} files, and decoding in {workers} process(es) takes up to {needed:,}; "
                "raise the limit (ulimit -n), or decode in the main process with --workers 0."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


class _Batches(Dataset):
    """ImageBatch i of the images, prepared; runs in the workers."""

    def __init__(self, images: list[str], root: Path, prepare: Prepare, batch: int) -> None:
        self.images, self.root, self.prepare, self.batch = images, root, prepare, batch

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch)

    def __getitem__(self, index: int) -> ImageBatch:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities of single images, which no one can act upon
            return self._decoded(index)

    def _decoded(self, index: int) -> ImageBatch:
        batch = ImageBatch([], None, [], [], [], [])
        prepared = []
        for image in self.images[index * self.batch : (index + 1) * self.batch]:
            try:
                content = _read(self.root, image)
                array, size = self.prepare(BytesIO(content))
            except Exception as error:  # decoders raise anything on hostile bytes; the reason is recorded
                if _is_of_the_system(error):
                    batch.unread.append(Unread(image, _reason(error)))
                else:
                    batch.failures.append(Undecodable(image, _reason(error)))
                continue
            batch.ids.append(image)
            batch.sizes.append(size)
            batch.contents.append(content_digest(content))
            prepared.append(torch.from_numpy(array.copy()))
        batch.prepared = torch.stack(prepared) if prepared else None
        if get_worker_info():
            batch.leave()  # PyTorch would do it too late: for want of room the main process would wait for ever
        return batch


class _NotReadError(Exception):
    """Made of what the last try raised."""


def _read(root: Path, image: str) -> bytes:
    """Raises _NotReadError; a file that is gone, or may not be read, for a moment is tried again."""
    for pause in (*PAUSES, None):
        try:
            return read_image(root, image)
        except (OSError, KeyError, UsageError) as error:  # a member that is gone, a damaged tar
            if pause is None:
                raise _NotReadError(_reason(error)) from error
        time.sleep(pause)
    raise AssertionError("unreachable")


def _is_of_the_system(error: Exception) -> bool:
    """Decoders raise OSError too, and then without a number."""
    of_the_system = _NotReadError | MissingDecoderError | MemoryError
    return isinstance(error, of_the_system) or (isinstance(error, OSError) and error.errno is not None)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _NotReadError | UsageError) else f"{type(error).__name__}: {error}"


def _settle(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole terminal; the main process decides
    os.nice(NICENESS)
