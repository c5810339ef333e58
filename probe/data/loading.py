"""Images read, decoded and prepared in worker processes: batch after batch, in order, a bounded number of them ahead.

Workers only read, decode and assemble. They never touch Polars (its threads do not survive a fork), and they are nice:
where the forward pass is on the same cores, it goes first and they fill what it leaves.

    for batch in load_batches(images, root, encoder.prepare, batch=64, workers=2):
        batch.ids, batch.prepared, batch.failures
"""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from probe.data.images import content_digest, read_image

NICENESS = 10
MOST_WORKERS = 32  # more only wait for the disk or the GPU

Prepare = Callable[[Path | BinaryIO], tuple[np.ndarray, tuple[int, int]]]
"""An image file -> what an encoder takes, and the original's (width, height). Picklable."""


class Undecodable(NamedTuple):
    """An image that could not be read or decoded, and why."""

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

    def __len__(self) -> int:
        return len(self.ids) + len(self.failures)

    def pin_memory(self) -> Self:
        """Called by PyTorch, in a thread of its own, where the forward pass is on a GPU."""
        self.prepared = None if self.prepared is None else self.prepared.pin_memory()
        return self


def choose_workers(shared: bool) -> tuple[int, str]:
    """How many processes decode, and why. `shared`: the forward pass is on the same CPUs."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if shared:
        return max(1, cpus // 2), f"half of {cpus} CPUs, which the forward pass needs as well"
    return min(MOST_WORKERS, cpus), f"{cpus} CPUs, which nothing else needs"


def load_batches(
    images: list[str], root: Path, prepare: Prepare, *, batch: int, workers: int, pinned: bool = False
) -> Iterator[ImageBatch]:
    """The images in batches; with 0 workers they are decoded here, when they are asked for, and so is a single batch,
    for which a worker would be started in vain."""
    batches = _Batches(images, root, prepare, batch)
    workers = min(workers, len(batches)) if len(batches) > 1 else 0
    return iter(DataLoader(batches, None, num_workers=workers, worker_init_fn=_settle, pin_memory=pinned))


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
        batch = ImageBatch([], None, [], [], [])
        prepared = []
        for image in self.images[index * self.batch : (index + 1) * self.batch]:
            try:
                content = read_image(self.root, image)
                array, size = self.prepare(BytesIO(content))
            except Exception as error:  # decoders raise anything on hostile bytes; the reason is recorded
                batch.failures.append(Undecodable(image, f"{type(error).__name__}: {error}"))
                continue
            batch.ids.append(image)
            batch.sizes.append(size)
            batch.contents.append(content_digest(content))
            prepared.append(torch.from_numpy(array.copy()))
        batch.prepared = torch.stack(prepared) if prepared else None
        return batch


def _settle(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole terminal; the main process decides
    os.nice(NICENESS)
