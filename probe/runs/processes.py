"""Runs side by side: each process gets one run at a time through a pipe and sends its progress back through it.

The processes are started anew, not forked. Ctrl-C is the parent's: it ends them, and their runs go on from their last
epoch another time. A process that is killed fails its run only.

    fit_in_processes(pending, 2, settings, display)
"""

import os
import signal
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.resource_tracker import ensure_running

from probe.allocator import keep_freed_memory
from probe.errors import ProbeError
from probe.extract import CachedFeatures
from probe.fit import EpochRecord, RunScores
from probe.runs.display import SweepDisplay
from probe.runs.run import Run

Runs = Sequence[tuple[Run, CachedFeatures]]


@dataclass(frozen=True)
class FitSettings:
    """How a process fits its runs."""

    device_choice: str
    budget: dict[str, int]
    """Bytes that the features in its memory may take (probe/memory.py)."""
    loggers: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    """Names of CUDA_VISIBLE_DEVICES, of which each process sees one alone; none for those of a CPU."""


def fit_in_processes(runs: Runs, jobs: int, settings: FitSettings, display: SweepDisplay) -> None:
    """Fits all runs in `jobs` processes; failures go to the display."""
    todo = deque(range(len(runs)))
    threads = threads_each(jobs)
    started: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}
    try:
        while todo or busy:
            while todo and len(busy) < jobs:
                idle = next((worker for worker in started if worker.idle), None)
                if idle is None:
                    idle = _Worker(runs, threads, settings, _least_taken(settings.gpus, started))
                    started.append(idle)
                idle.assign(todo.popleft())
                busy[idle.pipe] = idle
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                worker.receive(display)
                if worker.current is None:
                    del busy[worker.pipe]
    finally:
        for worker in started:
            worker.end()


class _Worker:
    """A process and the run that it has; `idle`: alive, and without one."""

    def __init__(self, runs: Runs, threads: int, settings: FitSettings, gpu: str | None) -> None:
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self.gpu = gpu
        self.current: int | None = None
        self._runs = runs
        self._process = context.Process(target=_work, args=(other, runs, threads, settings, gpu), daemon=True)
        ensure_running()  # before the mask, which it would take off
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the process inherits
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)  # a Ctrl-C of meanwhile comes now
        other.close()
        self._dead = False

    @property
    def alive(self) -> bool:
        return not self._dead

    @property
    def idle(self) -> bool:
        return self.current is None and self.alive

    def assign(self, number: int) -> None:
        self.current = number
        self.pipe.send(number)

    def receive(self, display: SweepDisplay) -> None:
        """Passes on one message, or finds that the process is gone."""
        if self.current is None:
            raise ValueError("only a process at work is listened to")
        name = self._runs[self.current][0].name
        try:
            what, *content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self._dead, self.current = True, None
            code = self._process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            display.failed(name, ProbeError(f"its process {how}; fit it again, with fewer --jobs if memory ran out"))
            return
        if what == "done":
            self.current = None
        elif what == "failed":
            self.current = None
            message, trace = content
            error = ProbeError(message)
            error.__cause__ = RuntimeError(f"in another process:\n{trace}")
            display.failed(name, error)
        else:
            getattr(display, what)(*content)

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self.pipe.close()


class _PipedProgress:
    """A SweepProgress that sends everything to the display in the parent process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def images(self, name: str, count: int) -> None:
        self._pipe.send(("images", name, count))

    def epoch(self, name: str, record: EpochRecord, epochs: int) -> None:
        self._pipe.send(("epoch", name, record, epochs))

    def searched(self, name: str, done: int, total: int) -> None:
        self._pipe.send(("searched", name, done, total))

    def note(self, text: str) -> None:
        self._pipe.send(("note", text))

    def finished(self, name: str, scores: RunScores, seconds: float) -> None:
        self._pipe.send(("finished", name, scores, seconds))


def _least_taken(gpus: Sequence[str], workers: Sequence[_Worker]) -> str | None:
    """The GPU that the fewest of the workers that are alive have."""
    return min(gpus, key=[worker.gpu for worker in workers if worker.alive].count, default=None)


def _work(pipe: Connection, runs: Runs, threads: int, settings: FitSettings, gpu: str | None) -> None:
    """The process: fits what it is given until the pipe is closed."""
    import torch

    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA reads it when it is first used, which is later

    from probe.runs.sweeps import RunFitter

    keep_freed_memory()
    torch.set_num_threads(threads)
    fitter = RunFitter(settings, _PipedProgress(pipe))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended, or was killed
        while True:
            run, features = runs[pipe.recv()]
            try:
                fitter.fit(run, features)
                pipe.send(("done",))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                pipe.send(("failed", str(error) or type(error).__name__, traceback.format_exc()))


def visible_gpus() -> tuple[str, ...]:
    """Those that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in said.split(",")] if said else list(map(str, range(count)))
    return tuple(names[:count])


def threads_each(jobs: int) -> int:
    """Of each process: as many as without --jobs where OMP_NUM_THREADS says how many, so for the same bits; else its
    share of those that PyTorch would use in this one."""
    import torch

    threads = torch.get_num_threads()
    return threads if "OMP_NUM_THREADS" in os.environ else max(1, threads // jobs)
