from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probe.errors import UsageError
from probe.fit import DomainRecord, EpochRecord, read_run_config
from probe.runs import Run, loggers
from probe.runs.loggers import LOGGERS, open_logger, require_loggers

BESIDE: Any = {"parts": {"teacher": 3.0}, "domains": {"cars": DomainRecord(steps=2, loss=4.5)}}
HISTORY = [
    EpochRecord(epoch=1, samples=200, loss=9.5, lr=0.01, val={"mMP@5": 0.5, "R@1": 0.75}),
    EpochRecord(epoch=2, samples=400, loss=7.25, lr=0.001, val={"mMP@5": 0.625, "R@1": 0.875}, **BESIDE),
]


class Interrupted(Run):
    """A run that has so many epochs behind it."""

    epochs_done: Sequence[EpochRecord] = ()

    @property
    def checkpoint(self) -> Any:
        return SimpleNamespace(folder=self.folder, history=self.epochs_done)


def run_after(folder: Path, epochs: int) -> Interrupted:
    config = {"backbone": "descriptor", "head": {"kind": "linear"}, "loss": {"kind": "arcface"}, "training": {}}
    run = Interrupted(read_run_config(config), {}, folder)
    object.__setattr__(run, "epochs_done", HISTORY[:epochs])
    return run


def log_epochs_interrupted_after_each(name: str, folder: Path) -> None:
    for epoch, record in enumerate(HISTORY):
        logger = open_logger(name, run_after(folder, epoch))
        logger.write(record)
        logger.close(finished=epoch == len(HISTORY) - 1)


@pytest.mark.parametrize("name", LOGGERS)
def test_without_the_package_it_is_said_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"--log {name}: .* run `pip install {name}`"):
        require_loggers([name])


def test_the_history_comes_back_from_the_events_over_the_images_seen(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log_epochs_interrupted_after_each("tensorboard", tmp_path)
    found = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss", "loss/cars", "lr", "part/teacher", "val/R@1", "val/mMP@5"]
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(200, 9.5), (400, 7.25)]
    assert [event.value for event in found.Scalars("val/R@1")] == [0.75, 0.875]


@pytest.mark.slow
def test_mlflow_has_the_history_over_the_images_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")
    log_epochs_interrupted_after_each("mlflow", tmp_path)
    client = mlflow.MlflowClient()
    [experiment] = [each for each in client.search_experiments() if each.name == "probe"]
    last, first = client.search_runs([experiment.experiment_id], order_by=["attribute.start_time DESC"])
    assert (first.info.status, last.info.status) == ("KILLED", "FINISHED")
    found = client.get_metric_history(last.info.run_id, "val/R_at_1")
    assert [(each.step, each.value) for each in found] == [(200, 0.75), (400, 0.875)]
    assert last.data.tags["key"] == run_after(tmp_path, 0).key
    given = {"head.kind": "linear", "loss.kind": "arcface", "loss.margin": "0.5", "backbone": "descriptor"}
    assert {name: last.data.params[name] for name in given} == given


@pytest.mark.slow
def test_wandb_has_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    log_epochs_interrupted_after_each("wandb", tmp_path)
    written = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime)
    assert len(written) == 2  # one for each start of the run
    text = written[-1].read_bytes()
    assert [value in text for value in (b"val/R@1", b"0.75", b"0.875", b"loss/cars")] == [True] * 4
