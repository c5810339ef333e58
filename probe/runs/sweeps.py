"""Many runs, one after the other or side by side: what is done is skipped, what is not is fitted and written.

A run that fails does not stop the others. Interrupted runs go on from their last epoch.

    sweep(runs, device_choice="auto", jobs=2)
"""

from collections.abc import Sequence

from probe.device import choose_device
from probe.errors import ProbeError, first_line
from probe.extract import CachedFeatures
from probe.fit import EpochRecord, FitData, TrainedConfig, fit, require_domains, shuffle_window
from probe.memory import feature_budget
from probe.progress import say
from probe.runs.display import SweepDisplay, SweepProgress
from probe.runs.loggers import open_logger, require_loggers
from probe.runs.processes import FitSettings, fit_in_processes, threads_each, visible_gpus
from probe.runs.run import Run

Runs = Sequence[tuple[Run, CachedFeatures]]


class SweepError(ProbeError):
    """Some runs of a sweep failed; the others, if any, are done."""


def sweep(runs: Runs, device_choice: str, jobs: int = 1, loggers: Sequence[str] = ()) -> int:
    """Fits every run that is not done; returns how many. `loggers`: the viewers of LOGGERS that are told of trained
    runs.

    A run that is named twice is one. `jobs` processes share the runs and the threads; each holds the features that it
    needs. Raises UsageError before any work for a run that names domains which its images are not of, SweepError at
    the end when runs failed.
    """
    runs = list({run.path: (run, features) for run, features in runs}.values())
    pending = [(run, features) for run, features in runs if not run.done]
    if not pending:
        return 0
    require_loggers(loggers)
    for one in {id(features): features for _, features in pending}.values():
        require_domains([run.config for run, features in pending if features is one], one)
    device, reason = choose_device(device_choice)
    jobs = min(jobs, len(pending))
    gpus = visible_gpus() if device.type == "cuda" else ()
    done = len(runs) - len(pending)
    say(f"fit {len(pending)} run(s) on {device.type} ({reason}){_side_by_side(jobs, len(gpus))}; {done} already done")
    budget = feature_budget(device, jobs, max(1, len(gpus)))
    for run, features in pending:
        if run.checkpoint.folder.exists():
            run.checkpoint.drop_unless(device.type, shuffle_window(features, device, budget))
    settings = FitSettings(device_choice, budget, tuple(loggers), gpus)
    with SweepDisplay(pending) as display:
        if jobs > 1:
            fit_in_processes(pending, jobs, settings, display)
        else:
            _fit_in_turn(pending, settings, display)
    if display.failures:
        reasons = "; ".join(f"{name}: {first_line(error)}" for name, error in display.failures)
        failed = len(display.failures)
        others = ", the others are done" if failed < len(pending) else ""
        raise SweepError(f"{failed} of {len(pending)} run(s) failed{others}. {reasons}") from display.failures[0][1]
    return len(pending)


def _side_by_side(jobs: int, gpus: int) -> str:
    if jobs == 1:
        return ""
    on = f" on {gpus} GPUs, one each" if gpus > 1 else ""
    return f", {jobs} side by side{on} with {threads_each(jobs)} thread(s) each"


def _fit_in_turn(runs: Runs, settings: FitSettings, display: SweepDisplay) -> None:
    fitter = RunFitter(settings, display)
    for run, features in runs:
        try:
            fitter.fit(run, features)
        except Exception as error:
            display.failed(run.name, error)


class RunFitter:
    """Fits runs in this process, one after the other; the features of the current ones stay in memory."""

    def __init__(self, settings: FitSettings, progress: SweepProgress) -> None:
        self.device, _ = choose_device(settings.device_choice)
        self._settings, self._progress = settings, progress
        self._data: FitData | None = None

    def fit(self, run: Run, features: CachedFeatures) -> None:
        """Fits, scores and writes one run."""
        data = self._in_memory(features)
        is_trained = isinstance(run.config, TrainedConfig)
        loggers = [open_logger(name, run) for name in self._settings.loggers if is_trained]

        if isinstance(run.config, TrainedConfig) and data.of_domain(run.config.domain).classes == 1:
            self._progress.note(f"{run.name}: all training images are of one class, so there is nothing to learn from")

        def on_epoch(record: EpochRecord) -> None:
            self._progress.epoch(run.name, record, run.epochs(len(data.train)))
            for logger in loggers:
                logger.write(record)

        def on_images(count: int) -> None:
            self._progress.images(run.name, count)

        def on_search(done: int, total: int) -> None:
            self._progress.searched(run.name, done, total)

        report, finished = self._progress, False
        try:
            fitted = fit(run.config, data, run.checkpoint, on_images, on_epoch, on_search, report.note)
            finished = True
        finally:
            for logger in loggers:
                logger.close(finished)
        run.write(fitted, self.device.type, features.weights, features.manifest.roots)
        self._progress.finished(run.name, fitted.scores, fitted.seconds)

    def _in_memory(self, features: CachedFeatures) -> FitData:
        if self._data is None or self._data.features is not features:
            self._data = None  # before the next ones are loaded
            self._data = FitData(features, self.device, self._settings.budget)
            self._progress.note(self._data.why)
            if remark := features.constants.remark:
                self._progress.note(f"{features.selection.features_name}: {remark}")
        return self._data
