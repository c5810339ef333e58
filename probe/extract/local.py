"""The local engine: decoding in worker processes, the forward pass here, writing in a thread behind it.

Images go through in the order of the plan and in fixed batches, so an interrupted and resumed extraction gives the same
bits as an undisturbed one. A part is written in halves, one on its way to the disk while the other fills, so a crash
costs a part at most. An image that cannot be decoded is recorded with its reason; one that the system did not hand over
is not, and the next extraction tries it again. Too many of both stop the run.

    extracted = extract(task, encoder, backbone.spec(), Settings(batch=64))
"""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from feature_cache import Failure, Remarks, Rows, Spec, StoreWriter
from probe.backbones import Encoder
from probe.data import ImageBatch, Unread, choose_workers, decoded_batches
from probe.errors import ProbeError
from probe.extract.constants import Constants
from probe.extract.plan import Settings, Task
from probe.progress import say, track

SLOW_MERGE = 200_000  # images; a fraction of a gigabyte of features


@dataclass(frozen=True)
class Extracted:
    """What an extraction has no features of."""

    failures: list[Failure]
    """All images of the source that could not be decoded."""
    unread: list[Unread]
    """Those that the system did not hand over this time."""
    constants: Constants
    """Columns that are the same in all that was extracted now."""


def extract(task: Task, encoder: Encoder, spec: Spec, settings: Settings, remarks: Remarks | None = None) -> Extracted:
    """Brings the task's store up to date. `remarks`: on the encoder.

    Raises ProbeError when too many images fail, or a decoding process ends; KeyboardInterrupt after Ctrl-C. What was
    extracted is kept in all cases.
    """
    writer = StoreWriter(
        task.store, spec, dtype=settings.stored_as, retry_failed=settings.retry_failed, remarks=remarks
    )
    allowed = max(1, int(settings.max_failures * (len(task.todo) + task.stored + task.failed)))
    with (
        writer,
        _WriteBehind(writer, settings) as behind,
        _deferred_interrupt() as interrupted,
    ):
        done, failed = writer.done, set(writer.failed)
        unread: list[Unread] = []
        constants = Constants()
        todo = [image for image in task.todo if image not in done]
        if len(todo) < len(task.todo):
            say(f"{task.source}: {len(task.todo) - len(todo):,} images were extracted by an interrupted run")
        with (
            track(f"extract {task.source}", len(todo), "images") as advance,
            _batches(todo, task, encoder, settings) as batches,
        ):
            for batch in batches:
                features = _features(batch, encoder)
                constants.add(features)
                behind.add(batch, features)
                advance(len(batch))
                failed.difference_update(batch.ids)
                failed.update(failure.id for failure in batch.failures)
                unread += batch.unread
                if len(failed) + len(unread) > allowed or interrupted.is_set():
                    behind.finish()
                    if interrupted.is_set():
                        raise KeyboardInterrupt
                    raise ProbeError(_too_many(task, list(writer.failed.values()), unread, allowed))
            behind.finish()
        _finish(writer, task)
        return Extracted(sorted(writer.failed.values()), unread, constants)


def _batches(
    todo: list[str], task: Task, encoder: Encoder, settings: Settings
) -> AbstractContextManager[Iterator[ImageBatch]]:
    workers = choose_workers(shared=not settings.pinned)[0] if settings.workers is None else settings.workers
    return decoded_batches(
        todo, task.root, encoder.prepare, batch=settings.batch, workers=workers, pinned=settings.pinned
    )


def _features(batch: ImageBatch, encoder: Encoder) -> np.ndarray:
    """(n, D); a batch without a single image has none."""
    return np.empty((0, encoder.dim), np.float32) if batch.prepared is None else encoder(batch.prepared).numpy()


def _finish(writer: StoreWriter, task: Task) -> None:
    """Merges the parts; says so where that takes a while."""
    images = len(writer.done)
    if images < SLOW_MERGE:
        writer.finish()
        return
    with track(f"merge {task.source}", images, "images") as advance:
        writer.finish(advance)


class _WriteBehind:
    """Gathers batches and writes half a part at a time, in a thread, while the next half is gathered.

    Never more than a part is not on disk yet. An error of the thread is raised by the next `add`, or by `finish`.
    """

    def __init__(self, writer: StoreWriter, settings: Settings) -> None:
        self.writer = writer
        self.batch, self.half = settings.batch, settings.part // 2
        self.thread = ThreadPoolExecutor(1, "write-behind")
        self.writing: Future[None] | None = None
        self.gathered: list[tuple[ImageBatch, np.ndarray]] = []

    def __enter__(self) -> "_WriteBehind":
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown()

    def add(self, batch: ImageBatch, features: np.ndarray) -> None:
        if self.writing is not None and self.writing.done():
            self.writing.result()
        batch.prepared = None  # not needed any more, and the largest part of it
        self.gathered.append((batch, features))
        if sum(len(gathered) for gathered, _ in self.gathered) + self.batch > self.half:
            self._hand_over()
            if self.batch > self.half:  # no room for a batch while another one is written
                self._wait()

    def finish(self) -> None:
        """Everything that was added is on disk."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        self._wait()
        if self.gathered:
            self.writing = self.thread.submit(_write, self.writer, self.gathered)
            self.gathered = []

    def _wait(self) -> None:
        if self.writing is not None:
            self.writing.result()


def _write(writer: StoreWriter, gathered: list[tuple[ImageBatch, np.ndarray]]) -> None:
    batches, features = zip(*gathered, strict=True)
    rows = Rows(
        [image for batch in batches for image in batch.ids],
        np.concatenate(features),
        np.array([size for batch in batches for size in batch.sizes], np.int32).reshape(-1, 2),
        np.array([content for batch in batches for content in batch.contents], np.uint64),
    )
    writer.add(rows, [Failure(*failure) for batch in batches for failure in batch.failures])


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


def _too_many(task: Task, failures: list[Failure], unread: list[Unread], allowed: int) -> str:
    if len(unread) > len(failures):
        return (
            f"{len(unread):,} images of {task.source} could not be read, more than the {allowed:,} allowed; the first "
            f"is {unread[0].id} ({unread[0].reason}). Mend that and start again; the work so far is kept."
        )
    first = sorted(failures)[0]
    return (
        f"{len(failures):,} images of {task.source} could not be decoded, more than the {allowed:,} allowed; "
        f"the first is {first.id} ({first.reason}). Raise --max-failures of `probe extract` to go on; the work so far "
        "is kept."
    )
