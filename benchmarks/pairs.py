"""Two ways of doing the same work, timed in turn (A B A B ...), so that a machine whose speed drifts slows down both.

results = [compare("load all", store.load, lambda: np.load(path), rounds=7)]
report("store", results)
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from probe.terminal import printer


@dataclass(frozen=True)
class Comparison:
    """Seconds of each round of ours and of theirs, and the least speed ratio that is aimed at."""

    work: str
    against: str
    ours: list[float]
    theirs: list[float]
    target: float | None = None

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours is, round by round."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]


def compare(
    work: str,
    ours: Callable[[], object],
    against: str,
    theirs: Callable[[], object],
    *,
    rounds: int = 7,
    target: float | None = None,
    before: Callable[[], object] = lambda: None,
) -> Comparison:
    """Runs both once unmeasured, then `rounds` times in turn; `before` each run something that is not measured."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side, run in zip(times, (ours, theirs), strict=True):
            before()
            start = time.perf_counter()
            run()
            if number:
                side.append(time.perf_counter() - start)
    return Comparison(work, against, *times, target)


def report(title: str, comparisons: list[Comparison]) -> None:
    """Prints the medians, and the median of the ratios with the least and the greatest."""
    table = Table("work", "seconds", "against", "seconds", "times as fast (range)", "target", title=title)
    for found in comparisons:
        low, middle, high = min(found.ratios), statistics.median(found.ratios), max(found.ratios)
        row = (
            found.work,
            f"{statistics.median(found.ours):.3f}",
            found.against,
            f"{statistics.median(found.theirs):.3f}",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            "" if found.target is None else f"{found.target:g}",
        )
        table.add_row(*map(Text, row))
    printer().print(table)
