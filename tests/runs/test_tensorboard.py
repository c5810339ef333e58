import sys
from pathlib import Path
from typing import Any

import pytest

from probe.errors import UsageError
from probe.fit import DomainRecord, EpochRecord
from probe.runs.tensorboard import Events, require_tensorboard


def test_without_the_package_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"--tensorboard needs tensorboard, .*pip install 'probe\[tensorboard\]'"):
        require_tensorboard()


def test_the_history_comes_back_from_the_events_over_the_images_seen(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    beside: Any = {"parts": {"teacher": 3.0}, "domains": {"cars": DomainRecord(steps=2, loss=4.5)}}
    history = [
        EpochRecord(epoch=1, samples=200, loss=9.5, lr=0.01, val={"mMP@5": 0.5, "R@1": 0.75}),
        EpochRecord(epoch=2, samples=400, loss=7.25, lr=0.001, val={"mMP@5": 0.625, "R@1": 0.875}, **beside),
    ]
    for epoch, record in enumerate(history):  # a run that is interrupted after each epoch
        events = Events(tmp_path, history[:epoch])
        events.write(record)
        events.close()
    found = reader.EventAccumulator(str(tmp_path)).Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss", "loss/cars", "lr", "part/teacher", "val/R@1", "val/mMP@5"]
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(200, 9.5), (400, 7.25)]
    assert [event.value for event in found.Scalars("val/R@1")] == [0.75, 0.875]
