"""The progress of a sweep on the screen: images a second, the time left, the current runs, and what they scored.

with SweepDisplay(pending) as display:
    display.images("descriptor_linear_arcface_seed0", 6400)
    display.epoch("descriptor_linear_arcface_seed0", record, epochs=10)
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol, Self

from probe.errors import first_line
from probe.extract import CachedFeatures
from probe.fit import EpochRecord, RunScores, TrainedConfig, images_of, training_images
from probe.progress import clock, say, track
from probe.runs.run import Run

NO_LOSS = 0.0005  # below it a loss is shown as 0.000


class SweepProgress(Protocol):
    """Receives the progress of runs: the display, or the pipe that leads to it."""

    def images(self, name: str, count: int) -> None:
        """A run has been trained on so many more."""

    def epoch(self, name: str, record: EpochRecord, epochs: int) -> None:
        """A run has finished an epoch of so many."""

    def searched(self, name: str, done: int, total: int) -> None:
        """So many of the comparisons of its test split are done."""

    def note(self, text: str) -> None:
        """A line that is printed once, however many processes send it."""

    def finished(self, name: str, scores: RunScores, seconds: float) -> None:
        """A run is written."""


class SweepDisplay:
    """A SweepProgress: a bar on a terminal, lines elsewhere."""

    def __init__(self, runs: Sequence[tuple[Run, CachedFeatures]]) -> None:
        self.failures: list[tuple[str, Exception]] = []
        """Names of runs, which may be equal, and their errors."""
        self._runs, self._stack = runs, ExitStack()
        self._current: dict[str, str] = {}  # by name of the run, where it stands
        self._search_start: dict[str, float] = {}
        self._notes: set[str] = set()
        self._without_loss: set[str] = set()

    def __enter__(self) -> Self:
        trained = [pair for pair in self._runs if isinstance(pair[0].config, TrainedConfig)]
        counted = trained or self._runs  # beside them, an image of a run in closed form says nothing of the time left
        self._counted = {run.name for run, _ in counted}
        sizes = {id(features): training_images(features) for _, features in counted}
        total = sum(run.images_left(images_of(run.config, sizes[id(features)])) for run, features in counted)
        self._advance = self._stack.enter_context(track("fit", total, "images"))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def images(self, name: str, count: int) -> None:
        self._advance(count if name in self._counted else 0, " | ".join(self._current.values()))

    def epoch(self, name: str, record: EpochRecord, epochs: int) -> None:
        if abs(record.loss) < NO_LOSS and name not in self._without_loss:
            self._without_loss.add(name)
            say(f"{name}: the loss is 0.000 in epoch {record.epoch}; where it is, nothing is learned")
        scores = ", ".join(f"{metric} {100 * value:.1f}" for metric, value in record.val.items())
        self._current[name] = f"{name} epoch {record.epoch}/{epochs}, loss {record.loss:.3f}, val {scores}"

    def searched(self, name: str, done: int, total: int) -> None:
        if done == 0:
            self._search_start[name] = time.monotonic()
        elapsed = time.monotonic() - self._search_start[name]
        left = f", ETA {clock(elapsed * (total - done) / done)}" if 0 < done < total else ""
        self._current[name] = f"{name} searched {done / max(total, 1):.0%} of test{left}"
        self.images(name, 0)

    def note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            say(text)

    def finished(self, name: str, scores: RunScores, seconds: float) -> None:
        self._current.pop(name, None)
        epoch = f" (epoch {scores.selected_epoch})" if scores.selected_epoch else ""
        means = {"val": scores.val.mean} if scores.val else {}
        means |= {"test": scores.test.of("clean", "merged").mean} if scores.test.root else {}
        values = ", ".join(f"{split} {_percents(mean)}" for split, mean in means.items())
        helped = "; no better on validation than before training" if scores.training_did_not_help else ""
        shown = f"{values} % {' / '.join(means['test'])}" if "test" in means else "not scored"
        say(f"{name}{epoch}: {shown}, {clock(seconds)}{helped}")

    def failed(self, name: str, error: Exception) -> None:
        self._current.pop(name, None)
        self.failures.append((name, error))
        say(f"{name} failed: {first_line(error)}")


def _percents(means: dict[str, float | None]) -> str:
    return " / ".join("-" if value is None else f"{100 * value:.1f}" for value in means.values())
