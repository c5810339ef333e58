"""Files that are damaged, thousands of them, and what becomes of reading each: the campaign's first half.

A process reads one damaged file after the other, which spares each the start. One that crashes or hangs costs that
case, which is counted, and the next process goes on behind it.

    for case in damage("store", world, seed=0, cases=range(100)):
        case.outcome                  # "caught"
"""

import multiprocessing
import os
import re
import resource
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from tests.faults.formats import FORMATS, Format, Reading
from tests.faults.mutations import mutate
from tests.faults.process import FORK, TRACEBACK, in_time, settle
from tests.faults.world import World

OUTCOMES = ("caught", "harmless", "another", "wrong", "traceback", "hang", "crash")
"""An error or a word; the same result; what another reader finds in it too; and what may not be."""
BAD = OUTCOMES[3:]
EACH_PROCESS = 500
MEMORY = 2 << 30  # beyond what a process has when it begins
WORDS = re.compile(
    "cannot be read|not what was written|damaged|starts again|is not there|unfinished|no row is|is not compared"
)


@dataclass(frozen=True)
class Case:
    """One damaged file, or one disturbed command."""

    target: str
    number: int
    outcome: str
    said: str = ""
    """By probe; or why it is bad."""
    stops: int = 0
    """How often the command was stopped."""


def damage(name: str, world: World, folder: Path, seed: int, cases: Sequence[int]) -> Iterator[Case]:
    """The cases of one format, in turn. `folder`: where to work."""
    rest = list(cases)
    while rest:
        ours, theirs = multiprocessing.Pipe()
        world.copy(FORMATS[name].step, folder)
        process = FORK.Process(target=_read_all, args=(name, folder, seed, rest[:EACH_PROCESS], theirs))
        process.start()
        theirs.close()
        if problem := ours.recv():
            raise RuntimeError(f"{name}: whole files are not read: {problem}")
        expected = rest[:EACH_PROCESS]
        try:
            while expected and in_time(ours.poll, process.pid or 0):
                yield Case(name, expected[0], *ours.recv())
                expected.pop(0)
            outcome = "hang"
        except EOFError:
            outcome = "crash"
        end_group(process.pid)
        process.join()
        if expected:
            code = process.exitcode
            yield Case(name, expected[0], outcome, f"exit code {code}")
        rest = rest[len(rest[:EACH_PROCESS]) - len(expected) + bool(expected) :]


def end_group(group: int | None) -> None:
    with suppress(ProcessLookupError):
        if group is not None:
            os.killpg(group, signal.SIGKILL)


def damage_one(name: str, truth: Reading, seed: int, number: int) -> tuple[str, str]:
    """The outcome of one case, and what was said; the files of the format are whole afterwards. `truth`: what is read
    from them."""
    format, chance = FORMATS[name], Random(f"{seed} {name} {number}")
    whole = {path: path.read_bytes() for path in sorted(Path().glob(format.file))}
    path = chance.choice(list(whole))
    try:
        path.write_bytes(mutate(whole[path], chance))
        return _outcome(format, truth, path, whole[path])
    finally:
        for path, content in whole.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _read_all(name: str, home: Path, seed: int, cases: Sequence[int], pipe: Connection) -> None:
    set_apart(home)
    format = FORMATS[name]
    if not list(Path().glob(format.file)):
        format.read()  # which makes it where it depends on the place
    files = {path: path.read_bytes() for path in Path().glob(format.file)}
    truth, again = _read_whole(format, files), _read_whole(format, files)
    if truth.code or not files or again.result != truth.result:
        pipe.send(truth.text or "nothing is there, or each time it reads otherwise")
        return
    pipe.send(None)
    limit_memory()
    for number in cases:
        pipe.send(damage_one(name, truth, seed, number))


def _read_whole(format: Format, files: dict[Path, bytes]) -> Reading:
    found = format.read()
    for path, content in files.items():  # what goes when it has been used, as a checkpoint
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return found


def set_apart(home: Path) -> None:
    """This process: in a group of its own, which can be ended as a whole, and in the folder."""
    os.setpgid(0, 0)
    settle(home)


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))


def _outcome(format: Format, truth: Reading, path: Path, content: bytes) -> tuple[str, str]:
    damaged = path.read_bytes()
    try:
        found = format.read()
    except BaseException:
        return "traceback", traceback.format_exc()
    if TRACEBACK.search(found.text):
        return "traceback", found.text
    if found.code:
        return ("caught" if found.text.strip() else "wrong"), found.text
    if found.result == truth.result:
        return "harmless", ""
    if WORDS.search(found.text):
        return "caught", found.text
    if format.plain is None:
        return "wrong", f"{found.text}\n{_difference(found.result, truth.result)}"
    path.write_bytes(damaged)
    try:
        said = format.plain(path)
    except Exception as error:
        return "wrong", f"another reader does not read it: {error!r}"
    path.write_bytes(content)
    if said == format.plain(path) or (format.exact and said != found.result):
        return "wrong", f"another reader reads it otherwise\n{_difference(found.result, said)}"
    return "another", ""


def _difference(found: object, expected: object) -> str:
    one, other = repr(found), repr(expected)
    at = next((i for i, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    return f"...{one[max(0, at - 60) : at + 200]}\nnot\n...{other[max(0, at - 60) : at + 200]}"
