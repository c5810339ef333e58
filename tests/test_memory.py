"""How much memory is free is a share of what the system tells."""

from pathlib import Path

import pytest
import torch

from probe import memory


def test_a_container_has_no_more_than_its_limit_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("1000\n")
    (tmp_path / "current").write_text("400\n")
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
    assert memory.free_memory() == 600
    assert memory.feature_budget(torch.device("cpu"), processes=2) == {"device": 0, "host": 180}
    (tmp_path / "max").write_text("max\n")
    assert memory.free_memory() > 1 << 20


def test_where_the_system_tells_nothing_half_of_all_memory_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUPS", ())
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    assert memory.free_memory() > 1 << 20
