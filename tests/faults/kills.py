"""Commands that are killed, interrupted, or denied disk, memory or files: the campaign's other half.

After whatever was done to it, up to five times in a row, the same command is given once more, undisturbed. It has to
end well and to leave what it leaves when nothing interferes: no row less, no other number, no file more.

    for case in disturb("fit", "kill", world, folder, seed=0, cases=range(10)):
        case.outcome
"""

import json
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random

import h5py

from tests.faults.damage import Case
from tests.faults.formats import VARYING
from tests.faults.mounts import can_mount, mount, own_mounts
from tests.faults.process import LONGEST, TRACEBACK, Ended, Process, run
from tests.faults.world import DISCRIMINANT, EVALUATE, EXTRACT, FITTED, IMPORT, INDEX, RUN, World, written_out

IN_A_ROW = 5
FRESH = 20  # of so many cases the one in the middle is disturbed in a process that is started anew, not forked
WATCHED = 20  # of so many killed parents, the first one's workers are waited for
TIMES = re.compile(rb"\b[0-9.]+ (s|min|h|images/s|rows/s)\b")
ERRORS = re.compile(r"^error: ", re.MULTILINE)
UNTOLD = ("*.lock", "speeds.jsonl")  # files that hold times, or nothing


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    words: str
    step: str = "reported"
    """Of the world, from which it begins."""
    leaves: tuple[str, ...] = ()
    """Globs of what it writes."""
    code: int = 0


COMMANDS: dict[str, Command] = {
    "extract": Command(f"{EXTRACT} --workers 0", "photos", ("features",)),
    "extract, workers": Command(f"{EXTRACT} --workers 2", "photos", ("features",)),
    "cache import": Command(IMPORT, "photos", ("features",)),
    "cache merge": Command("cache merge photos/descriptor", "parts", ("features",)),
    "cache export": Command("cache export photos/descriptor exported.npy", "extracted", ("exported*",)),
    "fit": Command("fit recipe.yaml", "extracted", ("out/runs",)),
    "fit, jobs": Command("fit recipe.yaml --jobs 2", "extracted", ("out/runs",)),
    "fit, auto": Command("fit crowd.yaml", "crowd", ("out/runs",)),
    "table": Command("table recipe.yaml", "fitted", ("out/tables",)),
    "report": Command("report recipe.yaml", "fitted", ("out/report.html",)),
    "figures": Command("figures recipe.yaml", "fitted", ("out/figures",)),
    "evaluate": Command(EVALUATE, "photos", ("out/evaluations",)),
    "compare": Command(f"compare {RUN} --against {RUN.replace('linear_arcface', 'pca-whitening')}"),
    "embed": Command(f"embed {RUN} photos --out vectors.npy", leaves=("vectors*",)),
    "export": Command(f"export {RUN} exported", code=2),  # the built-in descriptor is no PyTorch module
    "schema": Command("schema recipe"),
    "plan": Command("plan recipe.yaml"),
    "backbones": Command("backbones --catalogue catalogue.yaml"),
    "data list": Command("data list --datasets datasets.yaml"),
    "data stats": Command("data stats photos"),
    "data check": Command("data check photos --workers 0 --all", "photos", ("out/checks",)),
    "data check, spoilt": Command("data check spoilt --workers 0 --all", "photos", ("out/checks",), code=1),
    "data curate": Command("data curate curation.yaml", "photos", ("data",)),
    "cache list": Command("cache list"),
    "cache info": Command("cache info photos/descriptor"),
    "cache verify": Command("cache verify"),
    "cache drop": Command("cache drop photos/descriptor --yes", "extracted", ("features",)),
    "index create": Command(f"index create new.index {RUN}", leaves=("new.index",)),
    "index create, fitted": Command(
        f"index create new.index {DISCRIMINANT} --fit-to-collection", leaves=("new.index",)
    ),
    "index add": Command(f"index add {INDEX} photos/train0/0.png photos/train1/0.png", leaves=(INDEX,)),
    "index update": Command(f"index update {INDEX}", leaves=(INDEX,)),
    "index update, refit": Command(f"index update {FITTED} --refit", leaves=(FITTED,)),
    "index remove": Command(f"index remove {INDEX} photos/test0/1.png photos/val0/0.png", leaves=(INDEX,)),
    "index compact": Command(f"index compact {INDEX}", leaves=(INDEX,)),
    "index build": Command(f"index build {INDEX} --kind flat", leaves=(INDEX,)),
    "index duplicates": Command(f"index duplicates {INDEX} --threshold 0.9 --csv pairs.csv", leaves=("pairs.csv",)),
    "index calibrate": Command(f"index calibrate {INDEX} photos", leaves=(INDEX,)),
    "index info": Command(f"index info {INDEX}"),
    "index verify": Command(f"index verify {INDEX}"),
    "search": Command(f"search {INDEX} photos/test0/0.png -k 3"),
    "serve": Command(f"serve {INDEX} --host 192.0.2.1", code=2),  # no machine's address: it would not end by itself
}
LONG = ("extract", "extract, workers", "cache import", "cache merge", "cache export")
LONG += ("fit", "fit, jobs", "fit, auto", "table", "report", "index add", "index update, refit", "index compact")
"""Those that work long enough to be killed in it; the others are denied disk and files only."""
JOBS = "fit, jobs"
WITH_WORKERS = ("extract, workers", JOBS)


@dataclass(frozen=True)
class Disturbance:
    """`codes`: the exit codes that it may lead to, beside 0; `act`: what is done to a process once it is time."""

    codes: tuple[int, ...]
    act: Callable[[Process, Random], None] | None = None
    limits: Callable[[Random], dict[int, int]] = lambda chance: {}
    before: Callable[[Path], None] = lambda home: None
    """What is done in the process before it becomes the command."""
    abrupt: bool = False
    """Whether libraries may end the process in their own way, which is not promised to be a sentence."""


def _twice(process: Process, chance: Random) -> None:
    process.send(signal.SIGINT)
    time.sleep(chance.choice((0.0, 0.001, 0.01, 0.05)))
    process.send(signal.SIGINT)


def _worker(process: Process, chance: Random) -> None:
    patience = time.monotonic() + 5
    while not (workers := process.workers()) and process.runs() and time.monotonic() < patience:
        time.sleep(0.005)
    if workers:
        time.sleep(chance.uniform(0, 0.2))
        with suppress(ProcessLookupError):  # it has ended
            os.kill(chance.choice(workers), signal.SIGKILL)


def _small_files(chance: Random) -> dict[int, int]:
    return {resource.RLIMIT_FSIZE: chance.choice((0, 100, 4_000, 40_000, 100_000))}


def _few_files(chance: Random) -> dict[int, int]:
    return {resource.RLIMIT_NOFILE: chance.randint(8, 40)}


def _little_memory(chance: Random) -> dict[int, int]:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return {resource.RLIMIT_AS: pages * resource.getpagesize() + (chance.choice((8, 32, 128, 512)) << 20)}


def _nothing_written(home: Path) -> None:
    own_mounts()
    mount(home)
    mount(home, read_only=True)
    os.chdir(home)  # which was the folder below the mount


def _no_shared_memory(home: Path) -> None:
    shared = Path("/dev/shm")
    own_mounts()
    mount(home)  # which may lie in it
    mount(shared)
    mount(shared, read_only=True)
    os.chdir(home)


DISTURBANCES: dict[str, Disturbance] = {
    "SIGKILL": Disturbance((-signal.SIGKILL,), lambda process, chance: process.send(signal.SIGKILL)),
    "SIGTERM": Disturbance((-signal.SIGTERM, 143), lambda process, chance: process.send(signal.SIGTERM)),
    "Ctrl-C": Disturbance((130,), lambda process, chance: process.send(signal.SIGINT)),
    "Ctrl-C twice": Disturbance((130,), _twice),
    "worker killed": Disturbance((1,), _worker),
    "parent killed": Disturbance((-signal.SIGKILL,), lambda process, chance: process.send(signal.SIGKILL, group=False)),
    "disk full": Disturbance((1, 2), limits=_small_files),
    "few files": Disturbance((1, 2), limits=_few_files, abrupt=True),
    "little memory": Disturbance((1, 2), limits=_little_memory, abrupt=True),
    "read-only disk": Disturbance((1, 2), before=_nothing_written),
    "read-only /dev/shm": Disturbance((1, 2), before=_no_shared_memory),
}
KILLS = ("SIGKILL", "SIGTERM", "Ctrl-C", "Ctrl-C twice", "worker killed", "parent killed")
LIMITS = ("disk full", "few files", "little memory")
READ_ONLY = ("read-only disk", "read-only /dev/shm")
OUTCOMES = ("undisturbed", "stopped", "lost", "wrong", "traceback", "hang", "crash")
"""It was done before; it stopped and went on well; and what may not be."""
BAD = OUTCOMES[2:]


def pairs() -> list[tuple[str, str]]:
    """What is done to which command."""
    found = []
    for command in COMMANDS:
        with_workers = command in WITH_WORKERS  # limits would be those of the campaign's server
        kills = [what for what in KILLS if with_workers or what != "worker killed"] if command in LONG else []
        limits = [what for what in LIMITS if not with_workers]
        found += [(command, what) for what in [*kills, *limits, *(READ_ONLY if can_mount() else ())]]
    return found


def different(what: str, cases: int) -> int:
    """How many of so many cases are different ones."""
    return min(cases, 1) if what in READ_ONLY else cases


@dataclass
class Undisturbed:
    """A command when nothing interferes."""

    name: str
    before: dict[Path, bytes | None]
    """Every file."""
    leaves: dict[str, bytes]
    seconds: float
    fresh: bool
    """Whether in a process that was started anew."""


def disturb(name: str, what: str, world: World, folder: Path, seed: int, cases: Sequence[int]) -> Iterator[Case]:
    """The cases of one command and one disturbance, in turn. `folder`: where to work."""
    forked = undisturbed(name, world, folder)
    for number in cases:
        fresh = number % FRESH == FRESH // 2 or (name == JOBS and what in READ_ONLY)
        usual = undisturbed_fresh(name, world, folder) if fresh else forked
        chance = Random(f"{seed} {COMMANDS[name].words} {what} {number}")
        world.copy(COMMANDS[name].step, folder)
        yield Attempts(what, folder, usual, chance).case(number)


def undisturbed(name: str, world: World, folder: Path, fresh: bool = False) -> Undisturbed:
    """Raises RuntimeError where the command fails."""
    command = COMMANDS[name]
    world.copy(command.step, folder)
    before, words, started = tree(folder), written_out(command.words, folder), time.monotonic()
    ended = Process(words, folder, fresh=fresh).wait()
    seconds = time.monotonic() - started
    if ended.code != command.code:
        raise RuntimeError(f"probe {words} ends with {ended.code}, undisturbed:\n{ended.text}")
    return Undisturbed(name, before, left(folder, command) | _printed(command, ended), seconds, fresh)


undisturbed_fresh = cache(partial(undisturbed, fresh=True))


@dataclass
class Attempts:
    """One case: a command that is disturbed, up to five times in a row, and then is not."""

    what: str
    folder: Path
    usual: Undisturbed
    chance: Random
    processes: list[Process] = field(default_factory=list)
    stops: int = 0

    def case(self, number: int) -> Case:
        outcome, said = self._outcome()
        if self.what == "parent killed" and number % WATCHED == 0 and not self._workers_end():
            outcome, said = "hang", "the workers of a process that was killed go on"
        if self.what == "parent killed":
            rest = "".join(process.end_workers() for process in self.processes)
            if outcome not in BAD and TRACEBACK.search(rest):
                outcome, said = "traceback", rest
        told = f"{said}\n(in a fresh process)" if said and self.usual.fresh else said
        return Case(f"{self.usual.name}: {self.what}", number, outcome, told, self.stops)

    def _outcome(self) -> tuple[str, str]:
        words = written_out(self.command.words, self.folder)
        for _ in range(1 if self.what in READ_ONLY else self.chance.randint(1, IN_A_ROW)):
            ended = self._attempt(words)
            if self.stops and ended.code and _is_done(ended):
                return self._compared(ended)
            if problem := _problem(ended, self.what, self.command.code):
                return problem
            if ended.code == self.command.code and not (ended.code and ERRORS.search(ended.err)):
                if self.what in LIMITS:  # it may have named and left out what it had no memory or files for
                    break
                return self._compared(ended)
            self.stops += 1
        if self.stops and tree(self.folder) == self.usual.before:
            return "stopped", ""  # before it left anything: the same command does again what it did when undisturbed
        again = run(words, self.folder)
        if problem := _problem(again, "", self.command.code):
            return problem
        if again.code != self.command.code and not _is_done(again):
            return "lost", f"the same command is refused: {again.text}"
        return self._compared(again)

    def _attempt(self, words: str) -> Ended:
        disturbance, started = DISTURBANCES[self.what], time.monotonic()
        limits, before = disturbance.limits(self.chance), partial(disturbance.before, self.folder)
        process = Process(words, self.folder, limits, before, self.usual.fresh)
        self.processes.append(process)
        if disturbance.act is not None:
            if self.usual.fresh:
                process.wait_until_loaded()
            process.run_until(started + self.chance.uniform(0, self.usual.seconds))
            disturbance.act(process, self.chance)
        ended = process.wait(with_workers=self.what != "parent killed")
        if ended.code == self.command.code and not self.stops and disturbance.act is not None:
            self.usual.seconds = time.monotonic() - started  # what it takes changes with what else is going on
        return ended

    def _compared(self, ended: Ended) -> tuple[str, str]:
        found, expected = left(self.folder, self.command) | _printed(self.command, ended), self.usual.leaves
        if found.keys() != expected.keys():
            return "lost", f"left {sorted(found.keys() ^ expected.keys())}"
        if others := [file for file in found if found[file] != expected[file]]:
            return "wrong", f"other content of {', '.join(others)}"
        return ("stopped" if self.stops else "undisturbed"), ""

    def _workers_end(self) -> bool:
        patience = time.monotonic() + LONGEST
        while any(process.workers() for process in self.processes):
            if time.monotonic() > patience:
                return False
            time.sleep(0.1)
        return True

    @property
    def command(self) -> Command:
        return COMMANDS[self.usual.name]


def tree(folder: Path) -> dict[Path, bytes | None]:
    """Every file with its content, every folder."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def _is_done(again: Ended) -> bool:
    """A command that ended just before it was stopped, and that is refused for what it made."""
    return any(word in again.text for word in ("exists already", "there is no feature store", "nothing is removed"))


def _problem(ended: Ended, what: str, usual: int) -> tuple[str, str] | None:
    if ended.code is None:
        return "hang", ended.text
    if what and DISTURBANCES[what].abrupt:
        return None
    if ended.traceback:
        return "traceback", ended.text
    sentences = len(ERRORS.findall(ended.err))
    if what in READ_ONLY and sentences != 1 and (sentences or ended.code not in (0, usual)):
        return "wrong", f"no single sentence: {ended.text}"
    if what and ended.code and ended.code not in DISTURBANCES[what].codes:
        return "crash", f"exit code {ended.code}: {ended.text}"
    if ended.code in (1, 2) and not ended.text.strip():
        return "wrong", f"exit code {ended.code} without a word"
    return None


def left(home: Path, command: Command) -> dict[str, bytes]:
    """What the files hold that a command leaves: of stores the columns, of others the bytes, without times."""
    found: dict[str, bytes] = {}
    for path in (path for pattern in command.leaves for path in home.glob(pattern)):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            name = str(file.relative_to(home))
            if file.is_dir() or any(file.match(pattern) for pattern in UNTOLD):
                continue
            if file.name in VARYING:
                found[name] = b""
            elif file.parent.name == ".significance":  # its key and digest are of when the runs' files were written
                content = json.loads(file.read_bytes())
                found[name] = json.dumps([content[key] for key in ("intervals", "tied", "notes")]).encode()
            elif file.suffix == ".h5":
                found[name] = _columns(file)
            else:
                found[name] = TIMES.sub(b"", file.read_bytes())
    return found


def _columns(path: Path) -> bytes:
    with h5py.File(path) as file:
        names = ("id", "features", "size", "content", "failed")
        return b"\0".join(file[name][:].tobytes() for name in names)  # type: ignore[index]


def _printed(command: Command, ended: Ended) -> dict[str, bytes]:
    """Of a command that leaves nothing, what it prints."""
    return {} if command.leaves else {"printed": TIMES.sub(b"", ended.out.encode())}
