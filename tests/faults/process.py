"""A command in a process of its own, forked from one that has loaded everything, under limits and with signals.

A fresh Python takes seconds to load PyTorch, a fork takes milliseconds. The process that forks must never have used
Polars or threads of its own, which do not survive it: `prepare` loads, and computes nothing.

    prepare()
    ended = run("table recipe.yaml", home)
    ended.code, ended.text
"""

import fcntl
import gc
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import pkgutil
import re
import resource
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

FORK = multiprocessing.get_context("fork")
LIBRARIES = ("torch._dynamo", "scipy.io", "sklearn.decomposition", "skimage.feature", "matplotlib.pyplot", "rich.table")
LONGEST = 300.0  # seconds that nothing here takes, on a busy machine either: a process not done by then hangs
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
    """A command that runs, in a group of its own with its workers; what it says goes to pipes, which no limit fills."""

    def __init__(
        self, words: str, home: Path, limits: dict[int, int] | None = None, before: Callable[[], None] = lambda: None
    ) -> None:
        (self._out, out), (self._err, err) = _pipe(), _pipe()
        self._process = FORK.Process(target=_work, args=(words, home, out, err, limits or {}, before))
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._process.start()  # with SIGINT blocked, until the command begins
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number in (out, err):
            os.close(number)
        self.pid = self._process.pid or 0

    def send(self, number: int, group: bool = True) -> None:
        with suppress(ProcessLookupError):  # it has ended, or has not begun
            (os.killpg if group else os.kill)(self.pid, number)

    def runs(self) -> bool:
        return self._process.is_alive()

    def workers(self) -> list[int]:
        """The processes that it has started."""
        server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        return children(self.pid) + (children(server) if server else [])

    def wait(self, longest: float = LONGEST) -> Ended:
        self._process.join(longest)
        code = self._process.exitcode
        if code is None:
            self.send(signal.SIGKILL)
            self._process.join()
        for left in children(os.getpid(), group=self.pid):
            os.kill(left, signal.SIGKILL)
        return Ended(code, _heard(self._out), _heard(self._err))


def run(words: str, home: Path, before: Callable[[], None] = lambda: None) -> Ended:
    """A command, until it ends. `before`: what is done in its process first."""
    return Process(words, home, before=before).wait()


def as_command(words: str) -> int:
    """Runs it in this process, as the installed program would; returns its exit code."""
    from probe.cli import main

    sys.argv = ["probe", *shlex.split(words)]
    try:
        main()
    except SystemExit as end:
        code = end.code
        return code if isinstance(code, int) else 0 if code is None else 1
    return 0


def children(parent: int, group: int | None = None) -> list[int]:
    """The processes of a parent, or those of a group, whoever their parent is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if fields[0] != "Z" and (int(fields[1]) == parent if group is None else int(fields[2]) == group):
            found.append(int(stat.parent.name))
    return found


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
    multiprocessing.forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    import probe.runs.processes as processes

    context: Callable[..., Any] = multiprocessing.get_context
    processes.get_context = lambda method: context("forkserver")  # type: ignore[assignment]


def _work(words: str, home: Path, out: int, err: int, limits: dict[int, int], before: Callable[[], None]) -> None:
    os.setpgid(0, 0)
    settle(home)
    before()
    for number, stream in ((out, 1), (err, 2)):
        os.dup2(number, stream)
        os.close(number)
    # Made anew: the campaign's own, if its output goes to a file, would seek.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        sys.exit(130)  # before it began
    try:
        code = as_command(words)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _pipe() -> tuple[int, int]:
    """To read from and to write to; it holds more than any command says."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def _heard(pipe: int) -> str:
    os.set_blocking(pipe, False)
    said = b""
    with suppress(BlockingIOError), os.fdopen(pipe, "rb", 0) as file:
        while more := file.read(1 << 20):
            said += more
    return said.decode(errors="replace")


def wait_until(instant: float) -> None:
    """By time.monotonic."""
    time.sleep(max(0.0, instant - time.monotonic()))
