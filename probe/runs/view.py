"""What a sweep shows: images a second, the time left of all of it, the runs at work, and what they scored.

with View(pending) as view:
    view.images(6400)
    view.epoch("descriptor_linear_arcface_seed0", record, epochs=10)
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from probe.errors import first_line
from probe.extract import CachedFeatures
from probe.fit import EpochRecord, RunScores, images_of, training_images
from probe.progress import clock, say, track
from probe.runs.directory import Run


class View:
    """A bar on a terminal, lines elsewhere. `failures`: names of runs, which may be equal, and what they failed of."""

    def __init__(self, runs: Sequence[tuple[Run, CachedFeatures]]) -> None:
        self.failures: list[tuple[str, Exception]] = []
        self._runs, self._stack = runs, ExitStack()
        self._at_work: dict[str, str] = {}
        self._since: dict[str, float] = {}  # when its search began
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        sizes = {id(features): training_images(features) for _, features in self._runs}
        total = sum(run.images_left(images_of(run.config, sizes[id(features)])) for run, features in self._runs)
        self._advance = self._stack.enter_context(track("fit", total, "images"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def images(self, count: int) -> None:
        """So many more have been trained on."""
        self._advance(count, " | ".join(self._at_work.values()))

    def epoch(self, name: str, record: EpochRecord, epochs: int) -> None:
        """A line of the run's history."""
        scores = ", ".join(f"{metric} {100 * value:.1f}" for metric, value in record.val.items())
        self._at_work[name] = f"{name} epoch {record.epoch}/{epochs}, loss {record.loss:.3f}, val {scores}"

    def searched(self, name: str, done: int, total: int) -> None:
        """So many of the comparisons of its test split are done."""
        if done == 0:
            self._since[name] = time.monotonic()
        elapsed = time.monotonic() - self._since[name]
        left = f", ETA {clock(elapsed * (total - done) / done)}" if done else ""
        self._at_work[name] = f"{name} searched {done / max(total, 1):.0%} of test{left}"
        self.images(0)

    def note(self, text: str) -> None:
        """Once, however many processes say it."""
        if text not in self._said:
            self._said.add(text)
            say(text)

    def finished(self, name: str, scores: RunScores, seconds: float) -> None:
        self._at_work.pop(name, None)
        epoch = f" (epoch {scores.selected_epoch})" if scores.selected_epoch else ""
        means = {"val": scores.val.mean, "test": scores.test.of("clean", "merged").mean}
        told = ", ".join(f"{split} {_percents(mean)}" for split, mean in means.items())
        say(f"{name}{epoch}: {told} % {' / '.join(means['test'])}, {clock(seconds)}")

    def failed(self, name: str, error: Exception) -> None:
        self._at_work.pop(name, None)
        self.failures.append((name, error))
        say(f"{name} failed: {first_line(error)}")


def _percents(means: dict[str, float | None]) -> str:
    return " / ".join("-" if value is None else f"{100 * value:.1f}" for value in means.values())
