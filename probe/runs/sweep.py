"""Many runs, one after the other or side by side: what is done is skipped, what is not is fitted and written.

A run that fails does not stop the others. Interrupted runs go on from their last epoch.

    sweep(runs, device_choice="auto", jobs=2)
"""

from collections.abc import Sequence

from probe.device import choose_device
from probe.errors import ProbeError
from probe.extract import CachedFeatures
from probe.fit import require_domains
from probe.progress import say
from probe.runs.directory import Run
from probe.runs.view import View

Runs = Sequence[tuple[Run, CachedFeatures]]


class SweepError(ProbeError):
    """Some runs of a sweep failed; the others are done."""


def sweep(runs: Runs, device_choice: str, jobs: int = 1, tensorboard: bool = False) -> int:
    """Fits every run that is not done; returns how many. PyTorch is loaded only if there are any.

    A run that is named twice is one. `jobs` processes share the runs and the threads; each holds the features that it
    needs. Raises UsageError before any work for a run that names domains which its images are not of, SweepError at
    the end when runs failed.
    """
    runs = list({run.path: (run, features) for run, features in runs}.values())
    pending = [(run, features) for run, features in runs if not run.done]
    if not pending:
        return 0
    from probe.fit import shuffle_window
    from probe.memory import feature_budget
    from probe.runs.jobs import fit_in_processes, threads_each
    from probe.runs.tensorboard import require_tensorboard

    if tensorboard:
        require_tensorboard()
    for one in {id(features): features for _, features in pending}.values():
        require_domains([run.config for run, features in pending if features is one], one)
    device, reason = choose_device(device_choice)
    jobs = min(jobs, len(pending))
    side_by_side = f", {jobs} side by side with {threads_each(jobs)} thread(s) each" if jobs > 1 else ""
    done = len(runs) - len(pending)
    say(f"fit {len(pending)} run(s) on {device.type} ({reason}){side_by_side}; {done} already done")
    budget = feature_budget(device, jobs)
    for run, features in pending:
        if run.checkpoint.folder.exists():
            run.checkpoint.drop_unless(device.type, shuffle_window(features, device, budget))
    with View(pending) as view:
        if jobs > 1:
            fit_in_processes(pending, jobs, device_choice, budget, tensorboard, view)
        else:
            _fit_in_turn(pending, device_choice, budget, tensorboard, view)
    if view.failures:
        reasons = "; ".join(f"{name}: {error}" for name, error in view.failures)
        raise SweepError(
            f"{len(view.failures)} of {len(pending)} run(s) failed, the others are done. {reasons}"
        ) from view.failures[0][1]
    return len(pending)


def _fit_in_turn(runs: Runs, device_choice: str, budget: dict[str, int], tensorboard: bool, view: View) -> None:
    from probe.runs.session import Session

    session = Session(device_choice, budget, tensorboard, view)
    for run, features in runs:
        try:
            session.fit(run, features)
        except Exception as error:
            view.failed(run.name, error)
