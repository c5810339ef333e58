"""Each schedule's formula, and what all of them keep to."""

import math

import pytest

from probe.errors import UsageError
from probe.fit import SCHEDULES, Training
from probe.fit.schedules import build_schedule

STEPS = 50
FORMULAS = {
    "constant": lambda step: 0.02,
    "cosine": lambda step: 1e-3 + (0.02 - 1e-3) * (1 + math.cos(math.pi * step / STEPS)) / 2,
}


@pytest.mark.parametrize("kind", SCHEDULES.kinds)
def test_its_rates_are_those_of_its_formula_and_never_above_the_highest(kind: str) -> None:
    schedule = build_schedule(Training(schedule=kind, lr=0.02))
    rates = [schedule.rate(step, STEPS) for step in range(STEPS)]
    assert rates == pytest.approx([FORMULAS[kind](step) for step in range(STEPS)], rel=1e-12)
    assert 0 < min(rates) <= max(rates) <= 0.02
    assert rates == [schedule.rate(step, STEPS) for step in range(STEPS)], "a function of the step"


def test_one_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no schedule 'cosin'; did you mean 'cosine'"):
        SCHEDULES.find("cosin")
