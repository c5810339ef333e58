"""A head that waits while the classes are trained: for how many steps, and which epochs may then be selected."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.fit import FitData, RunScores, TrainedConfig, Trainer, Training, TrainingPlan, require_domains
from tests.fit.world import CPU, PLENTY, fitted, linear

UNED_IMAGES = 2_831_222
STEPS = 15  # of an epoch: 240 images, 16 a batch


@pytest.fixture(scope="module")
def data(cached: CachedFeatures) -> FitData:
    return FitData(cached, CPU, PLENTY)


def moving_steps(config: TrainedConfig, data: FitData, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each step of the run, whether it moved the head."""
    trainer = Trainer(config, data)
    step: Callable[..., Any] = trainer._step
    moved: list[bool] = []

    def watched(*batch: Any) -> Any:
        before = [weight.detach().clone() for weight in trainer.head.parameters()]
        found = step(*batch)
        moved.append(not all(map(torch.equal, before, trainer.head.parameters())))
        return found

    monkeypatch.setattr(trainer, "_step", watched)
    trainer.run(lambda images: None, lambda record: None)
    return moved


def test_uned_freezes_44237_steps() -> None:
    plan = TrainingPlan(Training(sampler="round-robin", freeze_head_epochs=2, epochs=7), UNED_IMAGES)
    assert plan.steps_per_epoch == 22_118
    assert plan.frozen_steps == 44_237
    assert [plan.head_is_trained(epoch) for epoch in (1, 2, 3, 7)] == [False, False, True, True]


@pytest.mark.parametrize(("sampler", "frozen"), [("uniform", 0), ("uniform", 1), ("round-robin", 2)])
def test_the_head_waits_for_its_epochs_and_one_step_more(
    sampler: str, frozen: int, data: FitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = moving_steps(linear(epochs=3, sampler=sampler, freeze_head_epochs=frozen), data, monkeypatch)
    waits = frozen * STEPS + 1 if frozen else 0
    assert moved == [False] * waits + [True] * (3 * STEPS - waits)


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_head_thaws_once_in_a_run(frozen: int, data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, changes = Trainer(linear(epochs=3, freeze_head_epochs=frozen), data), list[bool]()
    assert all(weight.requires_grad == (frozen == 0) for weight in trainer.head.parameters())
    monkeypatch.setattr(trainer.head, "requires_grad_", lambda on: changes.append(on))
    trainer.run(lambda images: None, lambda record: None)
    assert changes == [True]


def test_a_run_that_is_counted_in_samples_freezes_what_lies_between_its_validations(
    data: FitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = linear(samples=192, validate_every=64, freeze_head_epochs=1)
    assert moving_steps(config, data, monkeypatch) == [False] * 5 + [True] * 7


@pytest.mark.parametrize("seed", [4, 11])
def test_an_epoch_with_a_frozen_head_is_not_selected_though_it_is_the_best(seed: int, cached: CachedFeatures) -> None:
    run = fitted(linear(seed, epochs=4, freeze_head_epochs=2, lr=50.0, lr_min=50.0), cached)
    values = [record.val["mMP@5"] for record in run.history]
    trained = values[2:]
    assert max(trained) < values[0], "the test needs a head that training makes worse"
    assert run.scores.selected_epoch == 3 + trained.index(max(trained))
    assert run.scores.val
    assert run.scores.val.mean["mMP@5"] == max(trained)
    assert run.scores.training_did_not_help


def test_an_epoch_with_a_frozen_head_does_not_win_a_tie_either(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=4, freeze_head_epochs=2, lr=1e-12, lr_min=0), cached)
    assert len({record.val["mMP@5"] for record in run.history}) == 1
    assert run.scores.selected_epoch == 3
    assert run.scores.training_did_not_help


def test_the_start_is_the_validation_of_the_head_as_it_was_drawn(cached: CachedFeatures) -> None:
    frozen, trained = (fitted(linear(epochs=3, freeze_head_epochs=epochs), cached) for epochs in (2, 0))
    assert frozen.scores.start
    assert frozen.scores.start.val.mean == frozen.history[0].val
    assert trained.scores.start
    assert trained.scores.start.val == frozen.scores.start.val
    assert trained.scores.start.beaten
    assert not trained.scores.training_did_not_help


def test_a_domain_alone_decides_whether_the_start_is_beaten_where_it_selects(cached: CachedFeatures) -> None:
    for by in ("cars", "food"):
        scores = fitted(linear(epochs=2, select_on=by, lr=0.003, lr_min=0), cached).scores
        assert scores.start
        assert scores.val
        better = scores.val.value("mMP@5", by) > scores.start.val.value("mMP@5", by)
        assert scores.start.beaten == better


def test_scores_of_runs_from_before_the_start_was_known_are_read(cached: CachedFeatures) -> None:
    written = fitted(linear(epochs=1), cached).scores.model_dump(mode="json")
    assert written.pop("start")["beaten"]
    older = RunScores.model_validate(written)
    assert older.start is None
    assert not older.training_did_not_help
    assert older.model_dump(mode="json") == written


def test_a_head_that_would_never_be_trained_is_refused_before_any_work(cached: CachedFeatures) -> None:
    config = linear(epochs=3, batch=240, freeze_head_epochs=2)
    with pytest.raises(UsageError, match="freeze_head_epochs: 3 of 3 steps are frozen, which leaves none to train"):
        require_domains([config], cached)
    require_domains([linear(epochs=4, batch=240, freeze_head_epochs=2)], cached)
