"""Sharpness-aware minimization against algorithm 1 of its paper in float64, and what its second pass leaves alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from probe import heads, losses
from probe.extract.features import CachedFeatures
from probe.fit import (
    DistillationConfig,
    EpochRecord,
    FitData,
    Fitted,
    TrainedConfig,
    Trainer,
    Training,
    fit,
    read_run_config,
)
from probe.fit.objective import Objective
from probe.fit.sharpness import Ascent
from probe.fit.trainer import build_objective
from probe.runs.checkpoint import RunCheckpoint
from probe.runs.run import Run
from tests.conftest import slow
from tests.fit.world import CPU, PLENTY, fitted, linear

RADIUS, RATE, DECAY, SCALE = 0.5, 0.05, 0.1, 8.0
SEPARATE: dict[str, Any] = {"sampler": "round-robin", "classifier": "separate"}


@pytest.fixture(scope="module")
def data(cached: CachedFeatures) -> FitData:
    return FitData(cached, CPU, PLENTY)


def configured(
    head: heads.HeadConfig | None = None, loss: losses.LossConfig | None = None, **training: Any
) -> TrainedConfig:
    parts = {"head": head or heads.Linear.Config(dim=8), "loss": loss or losses.ArcFace.Config()}
    return linear(**training).model_copy(update=parts)


def plain(**training: Any) -> TrainedConfig:
    """Without dropout; SGD without momentum at one rate, so that a step is the paper's."""
    sgd = {"optimizer": "sgd", "momentum": 0.0, "lr": RATE, "schedule": "constant", "warmup_epochs": 0}
    head, loss = heads.Linear.Config(dim=8, dropout=0), losses.NormalisedSoftmax.Config(scale=SCALE)
    return configured(head, loss, **({"weight_decay": DECAY, "sharpness": RADIUS} | sgd | training))


def gradients(objective: Objective, weights: dict[str, Any], batch: tuple[Any, Any, int | None]) -> dict[str, Any]:
    """Of the normalised softmax of a linear head by autograd in float64; nothing for what the batch has no use for."""
    features, labels, domain = batch
    own = f"classifiers.{domain or 0}.weight"
    used = {name: weights[name].clone().requires_grad_() for name in ("head.weight", "head.bias", own)}
    embeddings = features.double() @ used["head.weight"].T + used["head.bias"]
    cosines = F.normalize(embeddings, dim=1) @ F.normalize(used[own], dim=1).T
    first = 0 if domain is None else 12 * domain
    found = torch.autograd.grad(F.cross_entropy(SCALE * cosines, labels - first), list(used.values()))
    frozen = {name for name, weight in objective.named_parameters() if not weight.requires_grad}
    return {name: gradient for name, gradient in zip(used, found, strict=True) if name not in frozen}


@pytest.mark.parametrize(
    "options",
    [{}, SEPARATE, SEPARATE | {"inactive": "zero-gradients"}, {"freeze_head_epochs": 1}],
    ids=["joint", "separate", "zero gradients", "a frozen head"],
)
def test_every_step_is_algorithm_1_of_the_paper(options: dict[str, Any], data: FitData) -> None:
    trainer, beside = (Trainer(plain(epochs=2, **options), data) for _ in range(2))
    moves_all = options.get("inactive") == "zero-gradients"
    weights = {name: value.double() for name, value in trainer.objective.state_dict().items()}
    start, further = dict(weights), 0.0
    trainer._epoch(1, lambda images: None)
    for block in beside.sampler.blocks(1):
        for rows, domain in zip(torch.from_numpy(block.rows).split(16), block.domains, strict=True):
            batch = data.train.take(rows.numpy()), data.labels[rows], domain
            first = gradients(trainer.objective, weights, batch)
            norm = torch.sqrt(sum((g.square().sum() for g in first.values()), torch.zeros((), dtype=torch.float64)))
            second = gradients(
                trainer.objective, weights | {n: weights[n] + RADIUS * g / norm for n, g in first.items()}, batch
            )
            further = max(further, *(float((second[name] - first[name]).abs().max()) for name in first))
            moved = weights if moves_all else second
            weights |= {n: weights[n] - RATE * (second.get(n, 0) + DECAY * weights[n]) for n in moved}
    assert further > 0.01, "the test needs a radius that matters"
    for name, value in trainer.objective.state_dict().items():
        torch.testing.assert_close(value.double(), weights[name], rtol=0, atol=2e-5)
        assert torch.equal(value, start[name].float()) == (name.startswith("head") and "freeze_head_epochs" in options)


def buffers(objective: Objective) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in objective.named_buffers()}


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        (heads.Linear.Config(dim=8), losses.AdaCos.Config()),
        (heads.Linear.Config(dim=8), losses.CurricularFace.Config(scale=8)),
        (heads.Linear.Config(dim=8), losses.AdaFace.Config(scale=8)),
        (heads.BatchNormLinear.Config(hidden=16, dim=8), losses.ArcFace.Config(scale=8)),
    ],
    ids=lambda each: each.kind,
)
def test_the_second_pass_moves_nothing_and_is_the_first_where_the_radius_is_as_good_as_none(
    head: heads.HeadConfig, loss: losses.LossConfig, data: FitData
) -> None:
    """With the same dropout and the same state of the loss, it gives the same gradients to the bit."""
    generator = torch.Generator().manual_seed(0)
    objective = build_objective(configured(head, loss, epochs=1), data, generator)
    batch = data.train.take(np.arange(32)), data.labels[:32], None
    for _ in range(3):  # a state that is not the first
        objective(*batch)
    for radius, same in ((1e-30, True), (RADIUS, False)):
        before = buffers(objective)
        ascent = Ascent(objective, generator, radius)
        objective.zero_grad()
        objective(*batch).backward()
        after, drawn = buffers(objective), generator.get_state()
        weights = {name: weight.detach().clone() for name, weight in objective.named_parameters()}
        first = {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}
        ascent.replace_gradients(*batch)
        assert any(not torch.equal(after[name], before[name]) for name in after), "the first pass moves something"
        assert all(torch.equal(after[name], buffer) for name, buffer in objective.named_buffers())
        assert torch.equal(generator.get_state(), drawn)
        assert all(torch.equal(weights[name], weight) for name, weight in objective.named_parameters())
        for name, weight in objective.named_parameters():
            assert weight.grad is not None
            assert weight.grad is not first[name]
            assert torch.equal(weight.grad, first[name]) == same


def test_a_gradient_of_zeros_goes_nowhere(data: FitData) -> None:
    generator = torch.Generator().manual_seed(0)
    objective = build_objective(plain(), data, generator)
    batch = data.train.take(np.arange(32)), data.labels[:32], None
    ascent = Ascent(objective, generator, 10.0)
    objective(*batch).backward()
    expected = {name: weight.grad for name, weight in objective.named_parameters()}
    for weight in objective.parameters():
        weight.grad = torch.zeros_like(weight)
    ascent.replace_gradients(*batch)
    for name, weight in objective.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name])


def same_bits(one: Fitted, other: Fitted) -> bool:
    weights = other.head.state_dict()
    return one.history == other.history and all(
        torch.equal(value, weights[name]) for name, value in one.head.state_dict().items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", slow("adamw"), slow("sgd")])
def test_a_run_that_goes_on_has_the_bits_of_an_undisturbed_one_which_are_not_those_without(
    optimizer: str, cached: CachedFeatures, data: FitData, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"epochs": 3, "optimizer": optimizer, "freeze_head_epochs": 1}
    config = configured(loss=losses.CurricularFace.Config(scale=8), sharpness=0.05, **options)
    checkpoint = RunCheckpoint(tmp_path, "k")

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(config, data, checkpoint, on_epoch=stop)
    torch.manual_seed(99)
    undisturbed = fitted(config, cached)
    assert same_bits(fit(config, data, checkpoint), undisturbed)
    without = fitted(configured(loss=losses.CurricularFace.Config(scale=8), **options), cached)
    assert undisturbed.history[0].loss != without.history[0].loss
    assert undisturbed.history[2].loss < undisturbed.history[0].loss


def test_the_loss_and_its_parts_are_those_of_the_weights_before_the_step(data: FitData) -> None:
    """A first step's do not depend on the radius; `dynamic` goes by them."""
    config = configured(loss=losses.NormalisedSoftmax.Config(scale=8), **SEPARATE)
    config = config.model_copy(update={"distillation": DistillationConfig(teacher_dim=16)})
    noted = []
    for radius in (None, 1.0):
        trainer = Trainer(config.model_copy(update={"training": linear(sharpness=radius, **SEPARATE).training}), data)
        rows = data.rows_of_domain()[1][:16]
        value, parts, difficulty = trainer._step(RATE, data.train.take(rows), data.labels[rows], 1)
        noted.append((value, *parts.values(), difficulty))
    assert len(noted[0]) == 6
    assert torch.equal(torch.stack(noted[0]), torch.stack(noted[1]))


def test_without_it_nothing_of_it_is_written_so_that_keys_stay_and_with_it_each_radius_has_its_own() -> None:
    assert "sharpness" not in linear().model_dump(mode="json")["training"]
    assert linear(sharpness=None) == linear()
    runs = [Run(linear(sharpness=radius), {}, Path()) for radius in (None, 0.05, 0.1)]
    assert len({run.key for run in runs}) == 3
    for run in runs:
        assert read_run_config(run.config.model_dump(mode="json")) == run.config


@pytest.mark.parametrize("radius", [0, -0.1, float("inf"), True])
def test_a_radius_is_above_zero_and_has_an_end(radius: Any) -> None:
    with pytest.raises(ValidationError):
        Training(sharpness=radius)
