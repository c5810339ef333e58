"""Runs side by side in processes of their own: the same bits, and each run's failure its own."""

import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from probe import heads
from probe.extract.features import CachedFeatures
from probe.runs import SweepError, sweep
from probe.runs.processes import FitSettings, _work, threads_each
from probe.runs.run import Run
from tests.fit.world import linear, untrained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class KilledRun(Run):
    """Its process is killed in the middle of it, as by the system when memory runs out."""

    def epochs(self, images: int) -> int:
        if os.getpid() != self.inputs["pid"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().epochs(images)


@pytest.fixture
def run(cached: CachedFeatures, tmp_path: Path) -> Callable[..., Run]:
    return lambda config, name="runs": Run(config, cached.identity, tmp_path / name)


def test_side_by_side_gives_the_bits_of_one_after_the_other(cached: CachedFeatures, run: Callable[..., Run]) -> None:
    configs = [
        linear(seed=0),
        untrained(heads.RandomProjection.Config(dim=8)),
        linear(seed=1),
        linear(optimizer="adamw"),
    ]
    together, in_turn = ([run(config, name) for config in configs] for name in ("together", "in turn"))
    assert sweep([(each, cached) for each in together], "cpu", jobs=2) == 4
    assert sweep([(each, cached) for each in in_turn], "cpu") == 4
    for one, other in zip(together, in_turn, strict=True):
        for name in ("metrics.json", "head.safetensors", "history.jsonl", "config.yaml", "per_query.parquet"):
            assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    assert sweep([(each, cached) for each in together], "cpu", jobs=2) == 0


@pytest.mark.parametrize(("said", "threads"), [("1", 1), (None, 2)])
def test_a_process_takes_the_threads_of_a_single_run_where_they_are_said_and_else_its_share(
    said: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    torch.set_num_threads(1 if said else 4)
    assert threads_each(jobs=2) == threads


def test_ctrl_c_while_a_process_starts_is_left_to_the_parent(
    cached: CachedFeatures, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = multiprocessing.process.BaseProcess.start

    def start(process: multiprocessing.process.BaseProcess) -> None:
        started(process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)  # before it has run a line of its own

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start)
    assert sweep([(run(linear(seed=seed)), cached) for seed in (6, 7)], "cpu", jobs=2) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_diverges_and_a_process_that_is_killed_do_not_stop_the_others(
    cached: CachedFeatures, run: Callable[..., Run], tmp_path: Path
) -> None:
    diverging = run(linear(lr=1e30, lr_min=0))
    killed = KilledRun(linear(seed=5), cached.identity | {"pid": os.getpid()}, tmp_path / "runs")  # type: ignore
    good = [run(linear(seed=seed)) for seed in (2, 3, 4)]
    runs = [diverging, good[0], killed, *good[1:]]
    with pytest.raises(SweepError) as error:
        sweep([(each, cached) for each in runs], "cpu", jobs=2)
    text = str(error.value)
    assert "2 of 5 run(s) failed, the others are done" in text
    assert "was killed by signal 9" in text
    assert "lower training.lr" in text or "not finite" in text
    assert [each.done for each in runs] == [False, True, False, True, True]


def test_a_process_whose_parent_was_killed_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    own, parents = Pipe()
    own.send(("images", 1))  # which nobody reads: the next thing that it hears is a reset
    parents.close()
    _work(own, [], torch.get_num_threads(), FitSettings("cpu", {}, ()), None)
    assert capfd.readouterr() == ("", "")
