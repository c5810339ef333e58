"""Ways of doing the same work, timed in turn (A B A B ...), so that a machine whose speed drifts slows down all.

yield compare("load all", store.load, "np.load", lambda: np.load(path), rounds=7)
yield from compare_all("search", ours, {"faiss": theirs, "torch": others}, rounds=3)
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.results import Comparison

Run = Callable[[], object]
OURS = "probe"


def interleave(sides: Mapping[str, Run], rounds: int, before: Run = lambda: None) -> dict[str, list[float]]:
    """Runs each once unmeasured, then all in turn, `rounds` times: their seconds. `before` each run something that is
    not measured."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            before()
            found = timed(run)
            if number:
                seconds[name].append(found)
    return seconds


def compare(work: str, ours: Run, against: str, theirs: Run, *, rounds: int = 7, **told: Any) -> Comparison:
    """`told`: fields of Comparison, and `before` of `interleave`."""
    return compare_all(work, ours, {against: theirs}, rounds=rounds, **told)[0]


def compare_all(
    work: str, ours: Run, peers: Mapping[str, Run], *, rounds: int, before: Run = lambda: None, **told: Any
) -> list[Comparison]:
    """Ours with each of the peers, all in the same rounds. `told`: fields of Comparison."""
    seconds = interleave({OURS: ours, **peers}, rounds, before)
    mine = seconds.pop(OURS)
    return [Comparison(work=work, against=name, ours=mine, theirs=found, **told) for name, found in seconds.items()]


def timed(work: Run) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cells(found: Comparison) -> tuple[str, str, str, str, str]:
    """Seconds of ours, against, seconds of theirs, the ratio with its range, and what is aimed at."""
    aims = [] if found.target is None else [f"{found.target:g} times"]
    aims += [] if found.goal is None else [f"{found.goal:g} s"]
    ours, theirs = (pace(seconds, found) for seconds in (found.ours, found.theirs))
    return ours, found.against, theirs, spread(found.ratios), ", ".join(aims)


def pace(seconds: Sequence[float], of: Comparison) -> str:
    """The median, and what is done in a second where that is told: `0.433 (4,730 queries/s)`; nothing of none."""
    if not seconds:
        return ""
    middle = statistics.median(seconds)
    rate = of.amount / middle
    return f"{middle:.3g}" + (f" ({f'{rate:,.0f}' if rate >= 10 else f'{rate:.2f}'} {of.unit}/s)" if of.unit else "")


def spread(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return "".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
