"""How long a run takes: its steps, and the rest, which is its start and its searches.

It is modelled by what there is to compute, at a machine's rates, or measured, of a finished run.

    modelled_time(config, 768, size, machine)      # RunTime(steps=25660, step=0.052, rest=310.0)
    measured_time(run)                             # None where an earlier version of probe made it
"""

from typing import NamedTuple

from probe.fit import RunConfig, Separate, TrainedConfig, TrainingPlan
from probe.planning.machine import Machine
from probe.planning.size import DataSize, SearchSize
from probe.runs import RunDirectory


class RunTime(NamedTuple):
    """Of a run, in seconds."""

    steps: int
    """Their number; 0 in closed form."""
    step: float
    """Of one."""
    rest: float
    """Of all that is no step."""


def modelled_time(config: RunConfig, dim: int, size: DataSize, machine: Machine) -> RunTime | None:
    """None where the domain's images are not known. `dim`: of the features."""
    embedded, training = config.head.embedding_dim(dim), size.training(config.domain)
    test = machine.seconds_a_run + _search(size.test, dim, embedded, machine)
    if "train" not in config.splits:
        return RunTime(0, 0.0, test)
    if training is None:
        return None
    if not isinstance(config, TrainedConfig):
        return RunTime(0, 0.0, 2.0 * training.images * dim * dim / machine.operations + test)
    plan = TrainingPlan(config.training, training.images)
    validations = (plan.epochs + 1) * _search(size.val, dim, embedded, machine)
    step = _modelled_step(config, dim, training.classes, len(size.train), machine)
    return RunTime(plan.steps, step, validations + 2 * test)


def _modelled_step(config: TrainedConfig, dim: int, classes: int, domains: int, machine: Machine) -> float:
    """Of the step itself, of the head, and of a classifier: centres x length of the embeddings x batch."""
    batch, embedded = config.training.batch, config.head.embedding_dim(dim)
    head = 6 * batch * dim * embedded / machine.operations
    centers = classes * max(1, config.loss.centers)
    centers /= domains if isinstance(config.training.classifier, Separate) else 1
    step = machine.seconds_a_step + head + centers * machine.seconds_a_center * batch / 128 * embedded / 64
    return step * (2 if config.training.sharpness else 1)  # passes


def measured_time(run: RunDirectory) -> RunTime | None:
    """Of a finished run; None where an earlier version of probe made it. Raises UsageError for a damaged one."""
    seconds, step = run.environment.seconds or 0.0, run.environment.seconds_a_step
    if not isinstance(run.config, TrainedConfig):
        return RunTime(0, 0.0, seconds)
    if step is None:
        return None
    steps = TrainingPlan(run.config.training, run.scores.training_images).steps
    return RunTime(steps, step, seconds - steps * step)


def modelled_step_of(run: RunDirectory, config: TrainedConfig, machine: Machine) -> float:
    """Of a finished run of this configuration. Raises UsageError for a damaged one."""
    domains = len(run.history[0].domains) or 1
    return _modelled_step(config, run.features.dim, run.scores.classes or 0, domains, machine)


def _search(search: SearchSize, dim: int, embedded: int, machine: Machine) -> float:
    products = search.queries * search.index * embedded + max(search) * dim * embedded
    return 2 * products / machine.operations
