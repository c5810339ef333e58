"""Every format damaged, every command disturbed, as often as is asked for: `make break`.

    make break                                    # as in docs/reliability.md: hours
    make break SEED=7 MUTATIONS=500 KILLS=20      # another draw, and a smaller one
    make break TARGETS="store fit" MINUTES=10     # what contains one of these words, as far as it comes

The targets take turns, some cases of each, and the counts are kept: the same command goes on where it ended. After a
change of what is tested, remove out/faults. Case by case, what is bad goes to out/faults/bad.txt, with what repeats it;
the counts to docs/reliability.md.
"""

import argparse
import json
import math
import os
import platform
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from probe.storage import write_whole
from tests.faults import damage, fuzz, kills
from tests.faults.damage import Case
from tests.faults.formats import FORMATS
from tests.faults.process import prepare, warm
from tests.faults.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by `make break` -->", "<!-- end -->"
OUT, IN_MEMORY = Path("out/faults"), Path("/dev/shm")
COUNTS, FAULTS = "counts.json", "bad.txt"
STOPS = "stops"


@dataclass(frozen=True)
class Target:
    """What cases are of; `share`: how many of them are run in its turn."""

    name: str
    cases: int
    share: int
    run: Callable[[range], Iterable[Case]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make break", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutations", type=int, default=10_000, help="of each format, and made-up files")
    parser.add_argument("--kills", type=int, default=1_000, help="of each command in each way")
    parser.add_argument("--targets", nargs="*", default=[], help="names of targets, or words that their names contain")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no further cases are begun")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path, help="where files are damaged and commands run; otherwise in memory")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    end, bad = time.monotonic() + 60 * asked.minutes, 0
    prepare()
    with nullcontext(asked.work) if asked.work else in_memory() as work:
        world = ready_world(work / "world")
        chosen = selected(list(targets(world, work / "home", asked.seed, asked.mutations, asked.kills)), asked.targets)
        while chosen and time.monotonic() < end:
            done = {target.name: tried(asked.out / COUNTS, target.name, asked.seed) for target in chosen}
            chosen = sorted(
                (target for target in chosen if done[target.name] < target.cases), key=lambda target: done[target.name]
            )
            for target in chosen:
                if time.monotonic() < end:
                    bad += take_turn(target, asked.out, asked.seed)
    if asked.out == OUT:
        write_page(asked.out / COUNTS)
    print(f"{bad} bad" + (f", in {asked.out / FAULTS}" if bad else ""))
    return min(bad, 1)


def selected(known: list[Target], asked: list[str]) -> list[Target]:
    """Those of these names, and those that contain one of the words that are no name; without any, all."""
    names = {target.name for target in known}
    words = [word for word in asked if word not in names]
    return [
        target for target in known if not asked or target.name in asked or any(word in target.name for word in words)
    ]


def take_turn(target: Target, out: Path, seed: int) -> int:
    """Runs the next cases; returns how many are bad."""
    first, started, counts, bad = tried(out / COUNTS, target.name, seed), time.monotonic(), Counter[str](), 0
    for case in target.run(range(first, min(target.cases, first + target.share))):
        counts[case.outcome] += 1
        counts[STOPS] += case.stops
        if case.outcome in {*damage.BAD, *fuzz.BAD, *kills.BAD}:
            bad += 1
            with (out / FAULTS).open("a") as file:
                print(f"# {case.target}, seed {seed}, case {case.number}: {case.outcome}", file=file)
                print(case.said.strip() + "\n", file=file)
    record(out / COUNTS, target.name, counts, seed)
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common() if count)
    print(f"{target.name}: {told} in {time.monotonic() - started:.1f} s", flush=True)
    return bad


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder where writing costs nothing, if there is such a place. Forks run Python's exit functions, so it may not
    be removed by one of those."""
    folder = mkdtemp(prefix="probe-faults-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


def ready_world(folder: Path) -> World:
    """Built anew, as the code may have changed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = World(folder)
    world.build()
    warm(folder / "photos" / "recipe.yaml")
    return world


def targets(world: World, home: Path, seed: int, mutations: int, times: int) -> Iterator[Target]:
    for name in FORMATS if mutations else ():
        yield Target(name, mutations, 500, partial(damage.damage, name, world, home, seed))
    for name in fuzz.INPUTS if mutations else ():
        yield Target(f"fuzz: {name}", mutations, 500, partial(fuzz.fuzz, name, world, home, seed))
    for command, what in kills.pairs() if times else ():
        run = partial(kills.disturb, command, what, world, home, seed)
        yield Target(f"{command}: {what}", kills.different(what, times), 10, run)


def counted(file: Path) -> dict[str, dict[str, dict]]:
    """By target and seed."""
    return json.loads(file.read_text()) if file.exists() else {}


def tried(file: Path, target: str, seed: int) -> int:
    of = counted(file).get(target, {}).get(str(seed), {"counts": {}})
    return sum(count for outcome, count in of["counts"].items() if outcome != STOPS)


def record(file: Path, target: str, counts: Counter[str], seed: int) -> None:
    """Adds the counts to earlier ones of this target and seed."""
    found = counted(file)
    of = found.setdefault(target, {}).setdefault(str(seed), {"counts": {}})
    of |= {"date": time.strftime("%Y-%m-%d"), "counts": dict(Counter(of["counts"]) + counts)}
    write_whole(file, json.dumps(found, indent=1).encode())


def write_page(file: Path) -> None:
    """Puts the counts into docs/reliability.md, between the two marks."""
    found = json.loads(file.read_text())
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(_tables(found))}{END}{after}")


def _tables(found: dict[str, dict[str, dict]]) -> Iterator[str]:
    """Counts of a target over all seeds; those of a kind of disturbance over all commands come first."""
    dates = sorted({of["date"] for seeds in found.values() for of in seeds.values()})
    seeds = sorted({int(seed) for seeds in found.values() for seed in seeds})
    yield f"\n{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}, seed{'s'[: len(seeds) - 1]} "
    yield f"{', '.join(map(str, seeds))}, Python {platform.python_version()}, {platform.machine()}, "
    yield f"{os.cpu_count()} CPUs.\n"
    counts = {name: sum((Counter(of["counts"]) for of in by.values()), Counter[str]()) for name, by in found.items()}
    disturbed = {f"{command}: {what}": what for command, what in kills.pairs()}
    sorts = {what: Counter[str]() for what in kills.DISTURBANCES if what in disturbed.values()}
    for name in disturbed.keys() & counts.keys():
        sorts[disturbed[name]] += counts[name]
    with_stops = (STOPS, *kills.OUTCOMES)
    yield from _table("disturbed", sorts, with_stops)
    yield from _table("disturbed, by command", {name: counts[name] for name in disturbed if name in counts}, with_stops)
    yield from _table("damaged", {name: counts[name] for name in FORMATS if name in counts}, damage.OUTCOMES)
    made_up = {name: counts[f"fuzz: {name}"] for name in fuzz.INPUTS if f"fuzz: {name}" in counts}
    yield from _table("made up", made_up, fuzz.OUTCOMES)
    yield "\n"


def _table(title: str, counts: dict[str, Counter[str]], columns: tuple[str, ...]) -> Iterator[str]:
    yield f"\n| {title} | tried | {' | '.join(columns)} |\n|---|{'--:|' * (len(columns) + 1)}\n"
    for name, of in [*counts.items(), ("all", sum(counts.values(), Counter[str]()))]:
        cells = [of.total() - of[STOPS], *(of[column] for column in columns)]
        yield f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |\n"


if __name__ == "__main__":
    try:
        code = main()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)  # what PyTorch's libraries say as they end is no part of it
