"""Every format damaged, every command disturbed, as often as is asked for: `make break`.

    make break                                    # as in docs/reliability.md: hours
    make break SEED=7 MUTATIONS=500 KILLS=20      # another draw, and a smaller one
    make break TARGETS="store fit"                # what contains one of these words

Case by case, what is bad goes to out/faults/bad.txt, with what repeats it; the counts to docs/reliability.md.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults import damage, fuzz, kills
from tests.faults.damage import Case
from tests.faults.formats import FORMATS
from tests.faults.process import prepare, warm
from tests.faults.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by `make break` -->", "<!-- end -->"
COUNTS, FAULTS = "counts.json", "bad.txt"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make break", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutations", type=int, default=10_000, help="of each format, and made-up files")
    parser.add_argument("--kills", type=int, default=1_000, help="of each command in each way")
    parser.add_argument("--targets", nargs="*", default=[], help="words, one of which a target's name contains")
    parser.add_argument("--out", type=Path, default=Path("out/faults"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    prepare()
    world = ready_world(asked.out / "world")
    bad = 0
    for target, cases in targets(world, asked.out / f"home-{os.getpid()}", asked.seed, asked.mutations, asked.kills):
        if asked.targets and not any(word in target for word in asked.targets):
            continue
        started, counts = time.monotonic(), Counter[str]()
        for case in cases:
            counts[case.outcome] += 1
            if case.outcome in {*damage.BAD, *fuzz.BAD, *kills.BAD}:
                bad += 1
                with (asked.out / FAULTS).open("a") as file:
                    print(f"# {case.target}, seed {asked.seed}, case {case.number}: {case.outcome}", file=file)
                    print(case.said.strip() + "\n", file=file)
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common())
        print(f"{target}: {told} in {time.monotonic() - started:.0f} s", flush=True)
        record(asked.out / COUNTS, target, counts, asked.seed)
    if asked.out == Path("out/faults"):
        write_page(asked.out / COUNTS)
    print(f"{bad} bad" + (f", in {asked.out / FAULTS}" if bad else ""))
    return min(bad, 1)


def ready_world(folder: Path) -> World:
    """Built anew, as the code may have changed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = World(folder)
    world.build()
    warm(folder / "photos" / "recipe.yaml")
    return world


def targets(world: World, home: Path, seed: int, mutations: int, times: int) -> Iterator[tuple[str, Iterable[Case]]]:
    """Each with its cases, which are run as they are asked for."""
    for name in FORMATS if mutations else ():
        yield name, damage.damage(name, world, home, seed, range(mutations))
    for name in fuzz.INPUTS if mutations else ():
        yield f"fuzz: {name}", fuzz.fuzz(name, world, home, seed, mutations)
    for command, what in kills.pairs() if times else ():
        yield f"{command}: {what}", kills.disturb(command, what, world, home, seed, range(times))


def record(file: Path, target: str, counts: Counter[str], seed: int) -> None:
    """The counts of a target with a seed replace earlier ones with that seed; those of other seeds are other cases."""
    found = json.loads(file.read_text()) if file.exists() else {}
    found.setdefault(target, {})[str(seed)] = {"date": time.strftime("%Y-%m-%d"), "counts": dict(counts)}
    file.write_text(json.dumps(found, indent=1))


def write_page(file: Path) -> None:
    """Puts the counts into docs/reliability.md, between the two marks."""
    found = json.loads(file.read_text())
    text = PAGE.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(_tables(found))}{END}{after}")


def _tables(found: dict[str, dict[str, dict]]) -> Iterator[str]:
    """Counts of a target over all seeds."""
    dates = sorted({of["date"] for seeds in found.values() for of in seeds.values()})
    seeds = sorted({int(seed) for seeds in found.values() for seed in seeds})
    yield f"\n{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}, seeds {', '.join(map(str, seeds))}, "
    yield f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs.\n"
    for title, names, outcomes in (
        ("damaged", [name for name in FORMATS if name in found], damage.OUTCOMES),
        ("made up", [f"fuzz: {name}" for name in fuzz.INPUTS if f"fuzz: {name}" in found], fuzz.OUTCOMES),
        ("disturbed", [f"{c}: {w}" for c, w in kills.pairs() if f"{c}: {w}" in found], kills.OUTCOMES),
    ):
        yield f"\n| {title} | tried | {' | '.join(outcomes)} |\n|---|{'--:|' * (len(outcomes) + 1)}\n"
        totals = Counter[str]()
        for name in names:
            counts = sum((Counter(of["counts"]) for of in found[name].values()), Counter[str]())
            totals += counts
            yield _row(name.removeprefix("fuzz: "), counts, outcomes)
        yield _row("all", totals, outcomes)
    yield "\n"


def _row(name: str, counts: Counter[str], outcomes: tuple[str, ...]) -> str:
    cells = [counts.total(), *(counts[outcome] for outcome in outcomes)]
    return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |\n"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what PyTorch's libraries say as they end is no part of it
