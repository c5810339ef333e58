"""A command in a process of its own, forked from one that has loaded everything, under limits and with signals.

A fresh Python takes seconds to load PyTorch, a fork takes milliseconds. The process that forks must never have used
Polars or threads of its own, which do not survive it: `prepare` loads, and computes nothing. From there on a fork is as
the program is: it leads a group of processes, has the signals that a shell gives it, runs `probe.__main__` and ends as
Python ends, but for the interpreter's own clearing away. A process can be asked for that is fresh.

    prepare()
    ended = run("table recipe.yaml", home)
    ended.code, ended.text
"""

import atexit
import fcntl
import gc
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import pkgutil
import re
import resource
import select
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, NoReturn

from probe.interrupts import heed

FORK = multiprocessing.get_context("fork")
ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch._dynamo", "scipy.io", "sklearn.decomposition", "skimage.feature", "matplotlib.pyplot", "rich.table")
LONGEST = 120.0  # seconds, beside those for which others have the processors: a process not done by then hangs
TRACEBACK = re.compile(r"Traceback|Exception ignored|--debug for the traceback|INTERNALERROR|panicked at|Fatal Python")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int | None
    """Its exit code; the negative number of the signal that ended it; None where it had to be ended, as it hung."""
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def traceback(self) -> bool:
        """Whether it shows Python's, or says that it does not know the error."""
        return TRACEBACK.search(self.text) is not None


def prepare() -> None:
    """Loads what the commands load, in this process and in the server of those of `--jobs`."""
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    packages = [importlib.import_module(name) for name in ("probe", "feature_cache")]
    modules = [found.name for each in packages for found in pkgutil.walk_packages(each.__path__, f"{each.__name__}.")]
    modules = [*LIBRARIES, *(name for name in modules if not name.endswith("__main__"))]
    multiprocessing.set_forkserver_preload(modules)
    multiprocessing.forkserver.ensure_running()
    for name in modules:
        importlib.import_module(name)
    Image.init()
    gc.collect()
    gc.freeze()


def warm(recipe: Path) -> None:
    """Reads the source code that a recipe's runs depend on, once for all processes to come."""
    from probe.recipes import read_recipe
    from probe.runs.code import code_of_run

    for row in read_recipe(recipe).rows:
        for run in row.runs:
            code_of_run(run)


class Process:
    """A command that runs, in a group of its own with its workers; what it says goes to pipes, which no limit fills.

    `before`: what is done in its process first. `fresh`: Python is started anew, and loads everything.
    """

    def __init__(
        self,
        words: str,
        home: Path,
        limits: dict[int, int] | None = None,
        before: Callable[[], None] = lambda: None,
        fresh: bool = False,
    ) -> None:
        (self._out, out), (self._err, err) = _pipe(), _pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the command heeds it
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, home, (out, err), limits or {}, before, fresh)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        with suppress(OSError):  # it has done so itself, and started Python
            os.setpgid(self.pid, self.pid)
        for number in (out, err):
            os.close(number)
        self._end = os.pidfd_open(self.pid)

    def send(self, number: int, group: bool = True) -> None:
        """To the process and its workers, or to it alone."""
        with suppress(ProcessLookupError):  # all have ended
            (os.killpg if group else os.kill)(self.pid, number)

    def runs(self) -> bool:
        return not select.select([self._end], [], [], 0)[0]

    def run_until(self, instant: float) -> None:
        """By time.monotonic; or until it ends."""
        select.select([self._end], [], [], max(0.0, instant - time.monotonic()))

    def workers(self) -> list[int]:
        """The processes that it has started and that still run, also when it has ended itself."""
        return [process for process in group_of(self.pid) if process != self.pid]

    def wait_until_loaded(self) -> None:
        """Until a fresh one heeds Ctrl-C (probe/interrupts.py)."""
        caught = re.compile(r"SigCgt:\s*([0-9a-f]+)")
        while self.runs():
            found = caught.search(Path(f"/proc/{self.pid}/status").read_text())
            if found and int(found[1], 16) & 1 << signal.SIGALRM - 1:
                return
            time.sleep(0.002)

    def wait(self, with_workers: bool = True) -> Ended:
        """`with_workers`: those that it leaves are ended too."""
        hangs = not in_time(lambda seconds: bool(select.select([self._end], [], [], seconds)[0]), self.pid)
        if hangs:
            self.send(signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._end)
        ended = Ended(None if hangs else code, _heard(self._out), _heard(self._err))
        if with_workers:
            self.end_workers()
        return ended

    def end_workers(self) -> str:
        """Ends those that the command has left; returns what they have said since."""
        self.send(signal.SIGKILL)
        said = _heard(self._out) + _heard(self._err)
        os.close(self._out)
        os.close(self._err)
        return said


def run(words: str, home: Path, before: Callable[[], None] = lambda: None) -> Ended:
    """A command, until it ends. `before`: what is done in its process first."""
    return Process(words, home, before=before).wait()


def as_command(words: str) -> int:
    """Runs it in this process, as the installed program would; returns its exit code."""
    from probe.__main__ import main

    sys.argv = ["probe", *shlex.split(words)]
    try:
        main()
    except SystemExit as end:
        code = end.code
        return code if isinstance(code, int) else 0 if code is None else 1
    return 0


def group_of(leader: int) -> list[int]:
    """The processes of a group that have not ended, whoever their parent is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended
        if state != "Z" and int(group) == leader:
            found.append(int(stat.parent.name))
    return found


def in_time(wait: Callable[[float], bool], group: int) -> bool:
    """Waits for what a group of processes does; False where it hangs. `wait`: for seconds; whether it is done."""
    if wait(1.0):
        return True
    started, before = time.monotonic(), _queued(group)
    while not wait(1.0):
        if time.monotonic() - started > LONGEST + _queued(group) - before:
            return False
    return True


def _queued(group: int) -> float:
    """Seconds for which a thread of these processes was ready to run, and others ran: the most of any."""
    found = [0]
    for process in group_of(group):
        for schedule in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with suppress(OSError):  # it has ended
                found.append(int(schedule.read_text().split()[1]))
    return max(found) / 1e9


@contextmanager
def captured(out: IO[str], err: IO[str]) -> Iterator[None]:
    """What this process prints goes to files, from their beginning."""
    usual = [os.dup(number) for number in (1, 2)]
    for file, number in ((out, 1), (err, 2)):
        file.seek(0)
        file.truncate()
        os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), usual, strict=True):
            os.dup2(before, number)
            os.close(before)


def content(file: IO[str]) -> str:
    """What was written to it, from the beginning."""
    return Path(f"/proc/self/fd/{file.fileno()}").read_bytes().decode(errors="replace")


def settle(home: Path) -> None:
    """What a process that runs commands needs: their folder, their places, and signals as a shell leaves them."""
    os.chdir(home)
    os.environ |= {"PROBE_CACHE": "features", "PROBE_DATA_ROOT": "data", "COLUMNS": "160", "HF_HUB_OFFLINE": "1"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]  # the campaign's
    multiprocessing.forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    import probe.__main__
    import probe.runs.processes as processes

    sys.modules["__main__"] = probe.__main__
    processes.get_context = lambda method: _Prepared()  # type: ignore[assignment]


class _Prepared:
    """In the place of what starts the processes of `--jobs` anew: they are forked from a server that has loaded what
    they load, join the command's group and have its signal mask and its output, as if it had started them."""

    def __init__(self) -> None:
        self._server = multiprocessing.get_context("forkserver")
        self.Pipe = self._server.Pipe

    def Process(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> Any:  # noqa: N802
        words = (os.getpgrp(), _Stream(1), _Stream(2), target, *args)
        return self._server.Process(target=_of_group, args=words, daemon=daemon)


@dataclass(frozen=True)
class _Stream:
    """An open file of this process, on its way to another one, where it is a number too."""

    number: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (DupFd(self.number),)


def _arrived(stream: Any) -> int:
    return stream.detach()


def _of_group(group: int, out: int, err: int, target: Callable[..., None], *args: Any) -> None:
    with suppress(OSError):  # whose command has ended meanwhile
        os.setpgid(0, group)
    os.dup2(out, 1)
    os.dup2(err, 2)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    target(*args)


def _become(
    words: str,
    home: Path,
    streams: tuple[int, int],
    limits: dict[int, int],
    before: Callable[[], None],
    fresh: bool,
) -> NoReturn:
    """What a fork does in place of going on."""
    code = 1
    try:
        os.setpgid(0, 0)
        settle(home)
        before()
        for number, stream in zip((os.open(os.devnull, os.O_RDONLY), *streams), (0, 1, 2), strict=True):
            os.dup2(number, stream)
            os.close(number)
        for kind, most in limits.items():
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        if fresh:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            os.environ["PYTHONPATH"] = str(ROOT)
            os.execv(sys.executable, [sys.executable, "-m", "probe", *shlex.split(words)])
        # Made anew: the campaign's own, if its output goes to a file, would seek.
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        heed()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        code = as_command(words)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _pipe() -> tuple[int, int]:
    """To read from and to write to; it holds more than any command says."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def _heard(pipe: int) -> str:
    """What has come since."""
    os.set_blocking(pipe, False)
    said = b""
    with suppress(BlockingIOError):
        while more := os.read(pipe, 1 << 20):
            said += more
    return said.decode(errors="replace")
