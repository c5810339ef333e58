"""The local engine: decoding in worker processes, the forward pass here, a part written every so often.

Images go through in the order of the plan and in fixed batches, so an interrupted and resumed extraction gives the same
bits as an undisturbed one. An image that cannot be decoded is recorded with its reason; too many stop the run.

    failures = extract(task, encoder, backbone.spec(), Settings(batch=64))
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from feature_cache import Failure, Rows, StoreWriter
from probe.backbones.encoder import Encoder, Prepare
from probe.errors import ProbeError
from probe.extract.match import content_digest
from probe.extract.plan import Settings, Task
from probe.progress import say, track


def extract(task: Task, encoder: Encoder, spec: dict[str, Any], settings: Settings) -> list[Failure]:
    """Brings the task's store up to date; returns all images of the source that could not be decoded.

    Raises ProbeError when too many fail, KeyboardInterrupt after Ctrl-C; what was extracted is kept in both cases.
    """
    writer = StoreWriter(task.store, spec, dtype=settings.dtype, retry_failed=settings.retry_failed)
    allowed = max(1, int(settings.max_failures * (len(task.todo) + task.stored + task.failed)))
    with writer, _deferred_interrupt() as interrupted:
        todo = [image for image in task.todo if image not in writer.done]
        part = _Part(writer, encoder.dim)
        if len(todo) < len(task.todo):
            say(f"{task.source}: {len(task.todo) - len(todo):,} images were extracted by an interrupted run")
        with track(f"extract {task.source}", len(todo), "images") as advance:
            for batch in _batches(todo, task, encoder.prepare, settings):
                part.add(batch, encoder)
                advance(len(batch.ids) + len(batch.failures))
                too_many = len(writer.failed.keys() | {failure.id for failure in part.failures}) > allowed
                if part.images >= settings.part or too_many or interrupted.is_set():
                    part.write()
                if too_many:
                    raise ProbeError(_too_many_failures(task, list(writer.failed.values()), allowed))
                if interrupted.is_set():
                    raise KeyboardInterrupt
            part.write()
        writer.finish()
        return sorted(writer.failed.values())


@dataclass
class _Batch:
    ids: list[str]
    prepared: torch.Tensor | None  # (n, ...), None when every image failed
    sizes: list[tuple[int, int]]
    contents: list[int]
    failures: list[Failure]


class _Part:
    """The part in hand: batches that have been through the backbone and are not on disk yet."""

    def __init__(self, writer: StoreWriter, dim: int) -> None:
        self.writer, self.dim = writer, dim
        self._clear()

    def _clear(self) -> None:
        self.ids: list[str] = []
        self.features = [np.empty((0, self.dim), np.float32)]
        self.sizes: list[tuple[int, int]] = []
        self.contents: list[int] = []
        self.failures: list[Failure] = []

    @property
    def images(self) -> int:
        return len(self.ids) + len(self.failures)

    def add(self, batch: _Batch, encoder: Encoder) -> None:
        if batch.prepared is not None:
            self.features.append(encoder(batch.prepared).numpy())
        self.ids += batch.ids
        self.sizes += batch.sizes
        self.contents += batch.contents
        self.failures += batch.failures

    def write(self) -> None:
        if self.images:
            sizes = np.array(self.sizes, np.int32).reshape(-1, 2)
            contents = np.array(self.contents, np.uint64)
            self.writer.add(Rows(self.ids, np.concatenate(self.features), sizes, contents), self.failures)
            self._clear()


class _Batches(Dataset):
    """Batch i of the images, prepared; runs in the workers."""

    def __init__(self, todo: list[str], task: Task, prepare: Prepare, batch: int) -> None:
        self.todo, self.task, self.prepare, self.batch = todo, task, prepare, batch

    def __len__(self) -> int:
        return -(-len(self.todo) // self.batch)

    def __getitem__(self, index: int) -> _Batch:
        batch = _Batch([], None, [], [], [])
        prepared = []
        for image in self.todo[index * self.batch : (index + 1) * self.batch]:
            path = self.task.path(image)
            try:
                array, size = self.prepare(path)
                content = content_digest(path)
            except Exception as error:  # decoders raise anything on hostile bytes; the reason is recorded
                batch.failures.append(Failure(image, f"{type(error).__name__}: {error}"))
                continue
            batch.ids.append(image)
            batch.sizes.append(size)
            batch.contents.append(content)
            prepared.append(torch.from_numpy(array.copy()))
        batch.prepared = torch.stack(prepared) if prepared else None
        return batch


def _batches(todo: list[str], task: Task, prepare: Prepare, settings: Settings) -> Iterator[_Batch]:
    batches = _Batches(todo, task, prepare, settings.batch)
    workers = min(settings.workers, len(batches))
    yield from DataLoader(batches, batch_size=None, num_workers=workers, worker_init_fn=_ignore_interrupt)


def _ignore_interrupt(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; only the main one decides what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, the second one interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def handle(*_: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


def _too_many_failures(task: Task, failures: list[Failure], allowed: int) -> str:
    first = sorted(failures)[0]
    return (
        f"{len(failures):,} images of {task.source} could not be decoded, more than the {allowed:,} allowed; "
        f"the first is {first.id} ({first.reason}). Raise --max-failures to go on; the work so far is kept."
    )
