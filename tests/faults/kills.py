"""Commands that are killed, interrupted, or denied disk, memory or files: the campaign's other half.

After whatever was done to it, up to three times in a row, the same command is given once more, undisturbed. It has to
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
from dataclasses import dataclass
from pathlib import Path
from random import Random

import h5py

from tests.faults.damage import Case
from tests.faults.formats import VARYING
from tests.faults.process import Ended, Process, run, wait_until
from tests.faults.world import DISCRIMINANT, EVALUATE, EXTRACT, FITTED, IMPORT, INDEX, RUN, World, written_out

IN_A_ROW = 3
TIMES = re.compile(rb"\b[0-9.]+ (s|min|h|images/s|rows/s)\b")
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
LONG += ("fit", "fit, jobs", "table", "report", "index add", "index update, refit", "index compact")
"""Those that work long enough to be killed in it; the others are denied disk and files only."""


@dataclass(frozen=True)
class Disturbance:
    """`codes`: the exit codes that it may lead to, beside 0; `act`: what is done to a process once it is time."""

    codes: tuple[int, ...]
    act: Callable[[Process, Random], None] = lambda process, chance: None
    limits: Callable[[Random], dict[int, int]] = lambda chance: {}
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
}
KILLS = ("SIGKILL", "SIGTERM", "Ctrl-C", "Ctrl-C twice", "worker killed", "parent killed")
LIMITS = ("disk full", "few files", "little memory")
OUTCOMES = ("undisturbed", "stopped", "lost", "wrong", "traceback", "hang", "crash")
"""It was done before; it stopped and went on well; and what may not be."""
BAD = OUTCOMES[2:]


def pairs() -> list[tuple[str, str]]:
    """What is done to which command."""
    found = []
    for command in COMMANDS:
        with_workers = command in ("extract, workers", "fit, jobs")  # limits would be those of the campaign's server
        kills = [what for what in KILLS if with_workers or what != "worker killed"] if command in LONG else []
        found += [(command, what) for what in [*kills, *(what for what in LIMITS if not with_workers)]]
    return found


def disturb(name: str, what: str, world: World, folder: Path, seed: int, cases: Sequence[int]) -> Iterator[Case]:
    """The cases of one command and one disturbance, in turn. `folder`: where to work."""
    command = COMMANDS[name]
    world.copy(command.step, folder)
    words = written_out(command.words, folder)
    started = time.monotonic()
    ended = run(words, folder)
    usual = time.monotonic() - started
    if ended.code:
        raise RuntimeError(f"probe {words} ends with {ended.code}, undisturbed:\n{ended.text}")
    expected = left(folder, command) | _printed(command, ended)
    for number in cases:
        yield Case(
            f"{name}: {what}", number, *_disturbed(command, what, world, folder, (seed, number, usual, expected))
        )


def _disturbed(
    command: Command, what: str, world: World, folder: Path, case: tuple[int, int, float, dict[str, bytes]]
) -> tuple[str, str]:
    seed, number, usual, expected = case
    chance = Random(f"{seed} {command.words} {what} {number}")
    world.copy(command.step, folder)
    words = written_out(command.words, folder)
    stopped = False
    for _ in range(chance.randint(1, IN_A_ROW)):
        started = time.monotonic()
        process = Process(words, folder, DISTURBANCES[what].limits(chance))
        wait_until(started + chance.uniform(0, usual))
        DISTURBANCES[what].act(process, chance)
        ended = process.wait()
        if problem := _problem(ended, what):
            return problem
        stopped |= ended.code != 0
        if ended.code == 0:
            break
    if stopped and tree(folder) == tree(world.folder / command.step):
        return "stopped", ""  # before it left anything: the same command does again what it did when undisturbed
    again = run(words, folder)
    if problem := _problem(again, ""):
        return problem
    if again.code and not (what and _is_done(command, again)):
        return "lost", f"the same command is refused: {again.text}"
    found = left(folder, command) | _printed(command, again)
    if found.keys() != expected.keys():
        return "lost", f"left {sorted(found.keys() ^ expected.keys())}"
    if others := [file for file in found if found[file] != expected[file]]:
        return "wrong", f"other content of {', '.join(others)}"
    return ("stopped" if stopped else "undisturbed"), ""


def tree(folder: Path) -> dict[Path, bytes | None]:
    """Every file with its content, every folder."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def _is_done(command: Command, again: Ended) -> bool:
    """A command that ended just before it was stopped, and that is refused for what it made."""
    return any(word in again.text for word in ("exists already", "there is no feature store", "nothing is removed"))


def _problem(ended: Ended, what: str) -> tuple[str, str] | None:
    if ended.code is None:
        return "hang", ended.text
    if what and DISTURBANCES[what].abrupt:
        return None
    if ended.traceback:
        return "traceback", ended.text
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
