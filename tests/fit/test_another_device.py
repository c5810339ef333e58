"""A run that was interrupted on a GPU can be fitted on a machine without one: its checkpoint is not a dead end."""

from pathlib import Path

import pytest
import torch

from probe.extract.features import CachedFeatures
from probe.fit import EpochRecord, FitData, fit
from probe.runs.checkpoint import RunCheckpoint
from tests.fit.world import CPU, PLENTY, linear

BYTES_OF_CUDA_STATE = 16  # of a CUDA generator's; a CPU generator's has 5,056


class StoppedError(Exception):
    pass


def test_a_checkpoint_of_a_gpu_does_not_make_the_run_impossible_on_the_cpu(
    cached: CachedFeatures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunCheckpoint(tmp_path, "k")

    def stop(record: EpochRecord) -> None:
        raise StoppedError

    data = FitData(cached, CPU, PLENTY)
    with pytest.raises(StoppedError):
        fit(linear(), data, checkpoint, on_epoch=stop)
    found = checkpoint.read()
    assert found is not None
    tensors = found[0] | {"generator": torch.zeros(BYTES_OF_CUDA_STATE, dtype=torch.uint8)}
    checkpoint.write(tensors, found[1].model_copy(update={"device": "cuda"}))
    records: list[EpochRecord] = []
    fit(linear(), data, checkpoint, on_epoch=records.append)
    assert len(records) == 4
    assert "was made on cuda, and this is cpu; this run starts again" in capsys.readouterr().err
