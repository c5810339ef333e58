"""A run's history for a viewer of other people's, written as the epochs end: TensorBoard, Weights & Biases, MLflow.

Each is one class below, and works where its package is installed. A run that goes on starts its log anew with the
history that it has, whether or not that was logged before.

    logger = open_logger("wandb", run)
    logger.write(record)                    # a line of history.jsonl
    logger.close(finished=True)
"""

import importlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from probe.errors import UsageError
from probe.fit import EpochRecord
from probe.runs.directory import TENSORBOARD
from probe.runs.run import Run

PROJECT = "probe"


def scalars(record: EpochRecord) -> dict[str, float]:
    """Loss, of each domain and its parts too where there are any, learning rate and validation means."""
    values = {"loss": record.loss, "lr": record.lr}
    values |= {f"val/{metric}": value for metric, value in record.val.items()}
    values |= {f"part/{name}": value for name, value in record.parts.items()}
    return values | {f"loss/{name}": line.loss for name, line in record.domains.items() if line.loss is not None}


class Logger(ABC):
    """Of one run."""

    @abstractmethod
    def __init__(self, run: Run) -> None: ...

    @abstractmethod
    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """`images`: that were seen until then."""

    def write(self, record: EpochRecord) -> None:
        self.scalars(scalars(record), record.samples)

    @abstractmethod
    def close(self, finished: bool) -> None:
        """`finished`: whether all epochs were done."""


class TensorBoard(Logger):
    """Events in the run's folder, `tensorboard/`."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = run.checkpoint.folder / TENSORBOARD  # moves to <run>/tensorboard with the run
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, images)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        self._writer.close()


class WeightsAndBiases(Logger):
    """A run of the project `probe`, or of WANDB_PROJECT; WANDB_MODE=offline keeps it here."""

    def __init__(self, run: Run) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=None if _is_set("WANDB_PROJECT") else PROJECT,
            name=run.name,
            config=run.config.model_dump(mode="json", exclude_none=True) | {"key": run.key},
            reinit="finish_previous",
        )

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        self._run.log(dict(values), step=images)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflow(Logger):
    """A run of the experiment `probe`, or of MLFLOW_EXPERIMENT_NAME, where MLFLOW_TRACKING_URI says."""

    def __init__(self, run: Run) -> None:
        mlflow: Any = importlib.import_module("mlflow")
        if not _is_set("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment(PROJECT)
        self._client = mlflow
        self._run = mlflow.start_run(run_name=run.name, tags={"key": run.key})
        config = run.config.model_dump(mode="json", exclude_none=True)
        mlflow.log_params(dict(_leaves(config)))
        mlflow.log_dict(config, "config.yaml")

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        self._client.log_metrics({_mlflow_name(name): value for name, value in values.items()}, step=images)

    def close(self, finished: bool) -> None:
        self._client.end_run("FINISHED" if finished else "KILLED")


def _leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`loss.margin`: what a recipe's `--set` calls it."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _mlflow_name(name: str) -> str:
    """MLflow takes few characters, and no metric `loss` beside one below `loss/`."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_").replace("loss/", "domain loss/"))


LOGGERS: dict[str, tuple[str, type[Logger]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
    "mlflow": ("mlflow", MLflow),
}
"""By name: the package that it needs, and the class."""


def require_loggers(names: Sequence[str]) -> None:
    """Raises UsageError, saying how to install it, where a package is not there."""
    for name in names:
        package, _ = LOGGERS[name]
        if find_spec(package) is None:
            raise UsageError(f"--log {name}: the package {package} is not installed; run `pip install {package}`.")


def open_logger(name: str, run: Run) -> Logger:
    """With what the run's history has already."""
    _, kind = LOGGERS[name]
    logger = kind(run)
    for record in run.checkpoint.history:
        logger.write(record)
    return logger


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable))
