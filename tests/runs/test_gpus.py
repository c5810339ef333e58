"""Runs side by side share the GPUs of the machine: each process sees one, and takes its share of that one's memory."""

import os
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from probe import memory
from probe.runs.processes import FitSettings, _least_taken, _work, visible_gpus

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("said", "count", "names"),
    [(None, 2, ("0", "1")), ("3, GPU-5a", 2, ("3", "GPU-5a")), ("1", 1, ("1",)), ("", 0, ()), (None, 0, ())],
)
def test_gpus_are_named_as_the_environment_names_them(
    said: str | None, count: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if said is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
    assert visible_gpus() == names


def test_a_new_process_takes_the_gpu_that_the_fewest_have() -> None:
    workers: list[Any] = []
    for _ in range(5):
        workers.append(SimpleNamespace(gpu=_least_taken(("0", "1"), workers), alive=True))
    assert [worker.gpu for worker in workers] == ["0", "1", "0", "1", "0"]
    workers[1].alive = False
    assert _least_taken(("0", "1"), workers) == "1"
    assert _least_taken((), workers) is None


@pytest.mark.parametrize(("gpu", "seen"), [("1", "1"), (None, "0,1")])
def test_a_process_sees_its_gpu_alone(gpu: str | None, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    own, parents = Pipe()
    parents.close()
    _work(own, [], torch.get_num_threads(), FitSettings("cpu", {}), gpu)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_the_memory_of_a_gpu_is_shared_by_the_processes_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1200)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert memory.feature_budget(CUDA, 2, 2) == {"device": 600, "host": 360}
    assert memory.feature_budget(CUDA, 3, 2) == {"device": 300, "host": 240}
    assert memory.feature_budget(CUDA, 2) == {"device": 300, "host": 360}
