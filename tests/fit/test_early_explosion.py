"""A loss that is far above chance from the second step on has exploded, also within the run's first fifty steps."""

import pytest
import torch

from probe import heads, losses
from probe.extract.features import CachedFeatures
from probe.fit import TrainedConfig, Training
from probe.fit.divergence import DivergedError, DivergenceGuard
from tests.fit.world import BACKBONE, fitted


def test_a_loss_that_explodes_within_the_first_fifty_steps_is_found() -> None:
    watch = DivergenceGuard(Training(epochs=1), chance=3.2, device=torch.device("cpu"))
    watch.note(0, 1.0, torch.tensor(3.2))
    for step in range(1, 49):
        watch.note(step, 1.0, torch.tensor(1e18))
    with pytest.raises(DivergedError, match=r"lower training\.lr"):
        watch.note(49, 1.0, torch.tensor(1e18))


def test_a_run_that_explodes_at_once_is_no_finished_run(cached: CachedFeatures) -> None:
    config = TrainedConfig(
        backbone=BACKBONE,
        head=heads.Linear.Config(dim=8),
        loss=losses.Softmax.Config(),
        training=Training(epochs=4, batch=16, lr=1e5, warmup_epochs=0),
    )
    with pytest.raises(DivergedError):
        fitted(config, cached)
