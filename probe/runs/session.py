"""One process's work on a sweep: run after run, the features of the current backbone in memory.

session = Session("auto", budget, tensorboard=False, view=view)
session.fit(run, features)
"""

from typing import Protocol

from probe.device import choose_device
from probe.extract import CachedFeatures
from probe.fit import EpochRecord, FitData, RunScores, TrainedConfig, fit
from probe.runs.directory import Run
from probe.runs.tensorboard import TENSORBOARD, Events


class Watcher(Protocol):
    """Who is told how the runs get on: the view on the screen, or the pipe that leads to it."""

    def images(self, count: int) -> None: ...

    def epoch(self, name: str, record: EpochRecord, epochs: int) -> None: ...

    def searched(self, name: str, done: int, total: int) -> None: ...

    def note(self, text: str) -> None: ...

    def finished(self, name: str, scores: RunScores, seconds: float) -> None: ...


class Session:
    """`budget`: bytes that features may take (probe/memory.py)."""

    def __init__(self, device_choice: str, budget: dict[str, int], tensorboard: bool, watcher: Watcher) -> None:
        self.device, _ = choose_device(device_choice)
        self._budget, self._tensorboard, self._watcher = budget, tensorboard, watcher
        self._data: FitData | None = None

    def fit(self, run: Run, features: CachedFeatures) -> None:
        """Fits, scores and writes one run."""
        data = self._in_memory(features)
        events = None
        if self._tensorboard and isinstance(run.config, TrainedConfig):
            events = Events(run.checkpoint.folder / TENSORBOARD, run.checkpoint.history)

        def on_epoch(record: EpochRecord) -> None:
            self._watcher.epoch(run.name, record, run.epochs(len(data.train)))
            if events is not None:
                events.write(record)

        def on_search(done: int, total: int) -> None:
            self._watcher.searched(run.name, done, total)

        try:
            fitted = fit(run.config, data, run.checkpoint, self._watcher.images, on_epoch, on_search)
        finally:
            if events is not None:
                events.close()
        run.write(fitted, self.device.type)
        self._watcher.finished(run.name, fitted.scores, fitted.seconds)

    def _in_memory(self, features: CachedFeatures) -> FitData:
        if self._data is None or self._data.features is not features:
            self._data = None  # before the next ones are loaded
            self._data = FitData(features, self.device, self._budget)
            self._watcher.note(self._data.why)
        return self._data
