"""A run that diverges stops within some steps, and says where and what to do."""

import math

import pytest
import torch

from probe.errors import ProbeError
from probe.extract.features import CachedFeatures
from probe.fit import Training
from probe.fit.divergence import EVERY, DivergedError, DivergenceGuard
from tests.fit.world import CPU, fitted, linear


def watched(losses: list[float], chance: float = 1.0, start: float | None = None) -> DivergenceGuard:
    guard = DivergenceGuard(Training(), chance, CPU, start)
    for step, loss in enumerate(losses):
        guard.note(step, 0.01, torch.tensor(loss))
    guard.check()
    return guard


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_step_is_named_and_what_to_do(bad: float) -> None:
    with pytest.raises(DivergedError) as error:
        watched([3.0] * 123 + [bad] + [math.nan] * 100)
    text = str(error.value)
    assert f"the loss is {bad} at step 124 (learning rate 0.01)" in text
    assert "lower training.lr (now 0.01), lengthen training.warmup_epochs (now 1)" in text


def test_it_stops_within_fifty_steps() -> None:
    guard, noted = DivergenceGuard(Training(), 1.0, CPU), []

    def train() -> None:
        for step in range(1000):
            noted.append(step)
            guard.note(step, 0.01, torch.tensor(math.nan if step >= 60 else 1.0))

    with pytest.raises(DivergedError, match="step 61 "):
        train()
    assert len(noted) <= 60 + EVERY


def test_a_loss_ten_times_its_start_has_exploded() -> None:
    with pytest.raises(DivergedError, match=r"exploded: 20.5 on average at step 100 .*10 times its start"):
        watched([2.0] * EVERY + [20.5] * EVERY)
    assert watched([2.0] * EVERY + [19.5] * EVERY).first_loss == 2.0


def test_a_loss_below_ten_times_chance_has_not_exploded_however_low_it_started() -> None:
    watched([0.1] * EVERY + [9.0] * EVERY, chance=1.0)
    with pytest.raises(DivergedError):
        watched([0.1] * EVERY + [11.0] * EVERY, chance=1.0)


def test_a_run_that_goes_on_is_held_against_its_own_start() -> None:
    with pytest.raises(DivergedError):
        watched([25.0] * EVERY, start=2.0)
    assert watched([25.0] * EVERY).first_loss == 25.0


@pytest.mark.parametrize("lr", [1e30, 1e38])
def test_a_learning_rate_that_explodes_is_a_clear_error(lr: float, cached: CachedFeatures) -> None:
    with pytest.raises(ProbeError, match=r"loss is (nan|inf)|zero or not finite"):
        fitted(linear(lr=lr, lr_min=0), cached)


def test_a_domain_of_one_class_is_not_what_a_run_started_at() -> None:
    losses = [0.0, 30.0] * EVERY
    assert watched(losses).first_loss == 30.0
    assert watched([0.0] * EVERY, chance=0.0).first_loss is None
