import math

import pytest
import torch

from probe.fit import Training, TrainingPlan

M4D_IMAGES = 328_400
STEPS = math.ceil(M4D_IMAGES / 128)
M4D = TrainingPlan(Training(), M4D_IMAGES)


def plan(training: Training, steps_per_epoch: int) -> TrainingPlan:
    return TrainingPlan(training, steps_per_epoch * training.batch)


def test_a_paper_sized_run_has_the_steps_of_the_protocol() -> None:
    assert M4D.steps_per_epoch == M4D.warmup_steps == STEPS == 2_566
    assert M4D.steps == 25_660


def test_warm_up_starts_at_four_millionths() -> None:
    assert M4D.learning_rate(0) == pytest.approx(1e-2 / 2_566)
    assert M4D.learning_rate(0) == pytest.approx(4e-6, rel=0.03)


def test_the_peak_is_the_last_step_of_the_warm_up_and_stays_below_the_nominal_rate() -> None:
    rates = [M4D.learning_rate(step) for step in range(25_660)]
    assert max(rates) == rates[2_565]
    assert max(rates) == pytest.approx(9.78e-3, abs=0.5e-5)


def test_rates_rise_to_the_peak_and_fall_to_the_minimum() -> None:
    rates = [plan(Training(), 100).learning_rate(step) for step in range(1_000)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert rates[-1] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("training", "steps_per_epoch"),
    [
        (Training(), 41),
        (Training(epochs=3, lr=0.02, lr_min=0.0, warmup_epochs=2.0), 17),
        (Training(epochs=4, lr=2e-3, warmup_epochs=0.5), 10),
        (Training(epochs=1), 7),
        (Training(epochs=2, warmup_epochs=0), 9),
        (Training(epochs=1), 1),
    ],
)
def test_it_equals_torchs_cosine_annealing_times_a_linear_warm_up(training: Training, steps_per_epoch: int) -> None:
    total = plan(training, steps_per_epoch).steps
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=training.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total, eta_min=training.model_dump()["lr_min"])
    for step in range(total):
        warm = 1.0
        if training.warmup_epochs:
            warm = min(1.0, (step + 1) / (training.warmup_epochs * steps_per_epoch))
        expected = cosine.get_last_lr()[0] * warm
        assert plan(training, steps_per_epoch).learning_rate(step) == pytest.approx(expected, rel=1e-9, abs=1e-15)
        optimizer.step()
        cosine.step()


def test_without_warm_up_the_first_step_has_the_nominal_rate() -> None:
    assert TrainingPlan(Training(warmup_epochs=0), M4D_IMAGES).learning_rate(0) == pytest.approx(1e-2, rel=1e-12)


def test_a_warm_up_shorter_than_a_step_is_none() -> None:
    assert plan(Training(warmup_epochs=0.01), 10).learning_rate(0) == pytest.approx(1e-2, rel=1e-12)


def test_the_formula_of_the_protocol_at_a_few_steps() -> None:
    for step in (0, 1, 1_000, 2_565, 2_566, 12_830, 25_659):
        cosine = 1e-3 + 0.5 * (1e-2 - 1e-3) * (1 + math.cos(math.pi * step / 25_660))
        assert M4D.learning_rate(step) == pytest.approx(cosine * min(1, (step + 1) / 2_566), rel=1e-12)


def test_a_constant_rate_is_reached_by_the_warm_up_and_kept() -> None:
    rates = [plan(Training(schedule="constant", epochs=3), 10).learning_rate(step) for step in range(30)]
    assert rates[:10] == pytest.approx([1e-2 * (step + 1) / 10 for step in range(10)])
    assert rates[10:] == [1e-2] * 20


def test_sample_counted_training_has_unifexs_twenty_thousand_iterations_and_eight_validations() -> None:
    counted = TrainingPlan(Training(samples=2_560_000, validate_every=320_000), M4D_IMAGES)
    assert (counted.steps, counted.epochs, counted.steps_per_epoch) == (20_000, 8, 2_500)
    assert counted.warmup_steps == 2_566, "warm-up is counted in passes over the images all the same"
    assert counted.learning_rate(19_999) == pytest.approx(1e-3, rel=1e-3)
