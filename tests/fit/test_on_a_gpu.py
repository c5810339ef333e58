"""Training on a GPU: near the CPU's on the same batches, the same bits each time, and no waiting in its steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from probe.extract.features import CachedFeatures
from probe.fit import EpochRecord, FitData, Trainer, fit
from probe.heads import Linear
from probe.runs.checkpoint import RunCheckpoint
from tests.fit.world import CPU, linear

pytestmark = pytest.mark.cuda
BYTES = 1 << 30
PLACES = {"device": {"device": BYTES, "host": BYTES}, "host": {"device": 0, "host": BYTES}}


class StoppedError(Exception):
    pass


@pytest.fixture
def data(cached: CachedFeatures, cuda: torch.device) -> FitData:
    return FitData(cached, cuda, PLACES["device"])


def test_the_same_batches_train_nearly_the_same_head_as_on_the_cpu(cached: CachedFeatures, data: FitData) -> None:
    config = linear().model_copy(update={"head": Linear.Config(dim=8, dropout=0.0)})
    here, there = (Trainer(config, each) for each in (FitData(cached, CPU, PLACES["host"]), data))
    there.objective.load_state_dict(here.objective.state_dict())
    rows = data.test.take(torch.arange(len(data.test)).numpy()).float()
    one, other = here.train()(rows.cpu()), there.train()(rows).cpu()
    assert F.cosine_similarity(one, other, dim=1).min() > 0.999


def test_the_same_seed_gives_the_same_bits(data: FitData) -> None:
    one, other = (fit(linear(), data) for _ in range(2))
    assert one.history == other.history
    assert one.scores == other.scores
    for name, value in one.head.state_dict().items():
        assert torch.equal(value, other.head.state_dict()[name])


def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(data: FitData, tmp_path: Path) -> None:
    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise StoppedError

    checkpoint = RunCheckpoint(tmp_path, "k")
    with pytest.raises(StoppedError):
        fit(linear(), data, checkpoint, on_epoch=stop)
    resumed, whole = fit(linear(), data, checkpoint), fit(linear(), data)
    assert resumed.history == whole.history
    for name, value in whole.head.state_dict().items():
        assert torch.equal(value, resumed.head.state_dict()[name])


def test_features_that_stay_in_the_machines_memory_give_the_same_bits(
    cached: CachedFeatures, cuda: torch.device
) -> None:
    there, here = (fit(linear(), FitData(cached, cuda, budget)) for budget in PLACES.values())
    assert there.history == here.history
    for name, value in there.head.state_dict().items():
        assert torch.equal(value, here.head.state_dict()[name])


@pytest.mark.parametrize("place", PLACES)
def test_steps_do_not_wait_for_the_gpu(
    place: str, cached: CachedFeatures, cuda: torch.device, never_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    data = FitData(cached, cuda, PLACES[place])
    trainer = Trainer(linear(), data)

    def steps() -> None:
        for rows, features in data.train.batches(torch.arange(64).numpy(), 16):
            trainer._step(0.1, features.float(), data.labels[rows], None)

    steps()  # the libraries load their kernels
    with never_waiting():
        steps()
