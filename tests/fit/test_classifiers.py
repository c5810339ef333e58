"""Joint and separate classifiers, and what the optimizer does with those that a step has no use for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from probe import heads, losses
from probe.extract.features import CachedFeatures
from probe.fit import FitData, TrainedConfig, Trainer, Training
from probe.fit.objective import Classification
from probe.fit.trainer import build_objective
from probe.losses import LOSSES, build_loss
from tests.conftest import quick
from tests.fit.world import BACKBONE, CPU, PLENTY, World, features_of, fitted, linear, small_manifest

CONFIGS = [LOSSES.find(kind).Config(kind=kind) for kind in LOSSES.kinds]
SEPARATE: dict[str, Any] = {"sampler": "round-robin", "classifier": "separate"}


@pytest.fixture(scope="module")
def data(cached: CachedFeatures) -> FitData:
    return FitData(cached, CPU, PLENTY)


def config_of(loss: losses.LossConfig, **training: Any) -> TrainedConfig:
    return linear(**training).model_copy(update={"loss": loss})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_domains_classes_follow_each_other(data: FitData) -> None:
    assert (data.domains, data.classes_of_domain, data.first_classes) == (["cars", "food"], [12, 12], [0, 12])
    for number, rows in enumerate(data.rows_of_domain()):
        assert set(data.train.frame[rows]["domain"]) == {data.domains[number]}
        assert data.labels[rows].unique().tolist() == list(range(12 * number, 12 * number + 12))


@pytest.mark.parametrize("loss", CONFIGS, ids=lambda loss: loss.kind)
def test_separate_classifiers_compete_within_the_batchs_domain_only(loss: losses.LossConfig, data: FitData) -> None:
    """A classifier is the loss of its domain alone, with its own classes' sizes, and the others are not run."""
    objective = build_objective(config_of(loss, **SEPARATE), data, generator())
    assert isinstance(objective, Classification)
    rows = data.rows_of_domain()[1][:32]
    features, labels = data.train.take(rows), data.labels[rows]
    objective.head.eval()  # no dropout
    alone = build_loss(loss, data.class_sizes[12:], 8, generator())
    alone.load_state_dict(objective.classifiers[1].state_dict())
    value = objective(features, labels, 1)
    value.backward()
    assert torch.equal(value, alone(objective.head(features), labels - 12))
    assert all(weight.grad is None for weight in objective.classifiers[0].parameters())
    assert all(weight.grad is not None for weight in objective.classifiers[1].parameters())
    weights = [sum(p.numel() for p in classifier.parameters()) for classifier in objective.classifiers]
    joint = build_objective(config_of(loss, sampler="round-robin"), data, generator())
    assert sum(weights) == sum(p.numel() for p in joint.parameters()) - sum(p.numel() for p in joint.head.parameters())


@pytest.mark.parametrize("loss", quick(CONFIGS, 3), ids=lambda loss: loss.kind)
def test_every_loss_trains_with_separate_classifiers(loss: losses.LossConfig, cached: CachedFeatures) -> None:
    run = fitted(config_of(loss, epochs=2, **SEPARATE), cached)
    assert run.history[1].loss < run.history[0].loss
    kept = {name.split(".", 1)[1] for name in run.loss_state}
    assert {f"{number}.{name}" for number in (0, 1) for name in kept} == run.loss_state.keys()


def test_a_joint_batch_of_one_domain_competes_against_all_classes(data: FitData) -> None:
    objective = build_objective(
        config_of(losses.NormalisedSoftmax.Config(scale=8), sampler="balanced"), data, generator()
    )
    objective.eval()
    rows = data.rows_of_domain()[0][:32]
    features, labels = data.train.take(rows), data.labels[rows]
    weight = objective.state_dict()["classifiers.0.weight"]
    assert weight.shape == (24, 8)
    cosines = F.normalize(objective.head(features), dim=1).double() @ F.normalize(weight, dim=1).double().T
    expected = F.cross_entropy(8 * cosines, labels)
    assert float(objective(features, labels, 0).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_separate_classifiers_need_to_know_the_domain(data: FitData) -> None:
    objective = build_objective(config_of(losses.ArcFace.Config(), **SEPARATE), data, generator())
    with pytest.raises(ValueError, match="batches of one domain"):
        objective(data.train.take(np.arange(4)), data.labels[:4], None)


RATE, DECAY, BETAS, SCALE = 0.05, 0.1, (0.9, 0.999), 8.0


def adam_of_an_epoch(trainer: Trainer, coupled: bool, skip: bool) -> dict[str, torch.Tensor]:
    """The trainer's epochs in float64: normalised softmax by autograd, Kingma & Ba's steps by hand, a classifier that
    the batch has no use for left as it is (skip) or moved with a gradient of zero."""
    weights = {name: value.double().clone() for name, value in trainer.objective.state_dict().items()}
    state = {name: (torch.zeros_like(w), torch.zeros_like(w), 0) for name, w in weights.items()}
    data = trainer.data
    for epoch in range(1, trainer.plan.epochs + 1):
        for block in trainer.sampler.blocks(epoch):
            for rows, domain in zip(torch.from_numpy(block.rows).split(16), block.domains, strict=True):
                assert domain is not None
                own = f"classifiers.{domain}.weight"
                used = {name: weights[name].requires_grad_() for name in ("head.weight", "head.bias", own)}
                features = data.train.take(rows.numpy()).double()
                embeddings = features @ used["head.weight"].T + used["head.bias"]
                logits = SCALE * F.normalize(embeddings, dim=1) @ F.normalize(used[own], dim=1).T
                loss = F.cross_entropy(logits, data.labels[rows] - data.first_classes[domain])
                grads = dict(zip(used, torch.autograd.grad(loss, list(used.values())), strict=True))
                for name, weight in weights.items():
                    w = weight.detach()
                    if name not in grads and skip:
                        continue
                    g = grads.get(name, torch.zeros_like(w)) + (DECAY * w if coupled else 0)
                    w = w if coupled else w - RATE * DECAY * w
                    m, v, t = state[name]
                    m, v, t = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g, t + 1
                    state[name] = (m, v, t)
                    step = (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)).sqrt() + 1e-8)
                    weights[name] = w - RATE * step
    return {name: weight.detach() for name, weight in weights.items()}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_inactive_classifiers_stay_or_move_by_momentum_and_decay_as_it_is_asked(optimizer: str, data: FitData) -> None:
    ends = {}
    for inactive in ("skip", "zero-gradients"):
        training = Training.model_validate(
            {"epochs": 2, "batch": 16, "lr": RATE, "schedule": "constant", "warmup_epochs": 0, "optimizer": optimizer}
            | {"weight_decay": DECAY, "sampler": "balanced", "classifier": "separate", "inactive": inactive}
        )
        loss = losses.NormalisedSoftmax.Config(scale=SCALE)
        head = heads.Linear.Config(dim=8, dropout=0)
        config = TrainedConfig(backbone=BACKBONE, head=head, loss=loss, training=training)
        expected = adam_of_an_epoch(Trainer(config, data), optimizer == "adam", inactive == "skip")
        trainer = Trainer(config, data)
        trainer.run(lambda images: None, lambda record: None)
        ends[inactive] = trainer.objective.state_dict()
        for name, value in ends[inactive].items():
            torch.testing.assert_close(value.double(), expected[name], rtol=0, atol=2e-4)
    for name in ("classifiers.0.weight", "classifiers.1.weight"):
        assert (ends["skip"][name] - ends["zero-gradients"][name]).abs().max() > 0.05


def sgd_of_an_epoch(trainer: Trainer, skip: bool) -> dict[str, torch.Tensor]:
    """The trainer's epochs by SGD with momentum 0.9, the velocity of a weight that never moved being its gradient."""
    objective, data = trainer.objective, trainer.data
    weights, velocities = dict(objective.named_parameters()), {}
    for epoch in range(1, trainer.plan.epochs + 1):
        for block in trainer.sampler.blocks(epoch):
            for rows, domain in zip(torch.from_numpy(block.rows).split(16), block.domains, strict=True):
                loss = objective(data.train.take(rows.numpy()), data.labels[rows], domain)
                grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for (name, weight), gradient in zip(weights.items(), grads, strict=True):
                    if gradient is None and skip:
                        continue
                    g = DECAY * weight.detach() + (0 if gradient is None else gradient)
                    velocities[name] = g if name not in velocities else 0.9 * velocities[name] + g
                    weight.data -= RATE * velocities[name]
    return objective.state_dict()


@pytest.mark.parametrize("inactive", ["skip", "zero-gradients"])
def test_sgd_moves_a_classifier_for_the_first_time_beside_weights_with_a_velocity(inactive: str, data: FitData) -> None:
    training: dict[str, Any] = {"lr": RATE, "schedule": "constant", "warmup_epochs": 0, "weight_decay": DECAY}
    config = linear(epochs=2, optimizer="sgd", inactive=inactive, **SEPARATE, **training)
    config = config.model_copy(
        update={"head": heads.Linear.Config(dim=8, dropout=0), "loss": losses.NormalisedSoftmax.Config()}
    )
    expected, trainer = sgd_of_an_epoch(Trainer(config, data), inactive == "skip"), Trainer(config, data)
    trainer.run(lambda images: None, lambda record: None)
    torch.testing.assert_close(trainer.objective.state_dict(), expected, rtol=0, atol=2e-4)


def test_a_step_that_skips_leaves_inactive_classifiers_without_a_gradient_or_a_moment(data: FitData) -> None:
    trainer = Trainer(linear(**SEPARATE), data)
    rows = data.rows_of_domain()[0][:16]
    trainer._step(0.1, data.train.take(rows).float(), data.labels[rows], 0)
    classifiers = trainer.objective.get_submodule("classifiers")
    assert isinstance(classifiers, nn.ModuleList)
    (used,), (other,) = (list(classifier.parameters()) for classifier in classifiers)
    assert used in trainer.optimizer.state
    assert other not in trainer.optimizer.state
    assert other.grad is None


def test_a_single_domain_gives_the_same_bits_with_separate_as_with_a_joint_classifier(tmp_path: Path) -> None:
    frame = small_manifest()
    of_cars = (frame["domain"] == "cars").to_numpy()
    world = World(tmp_path, frame.filter(of_cars))
    world.store(features_of(frame)[of_cars])
    features = world.cached()
    joint, separate = (
        fitted(linear(epochs=2, sampler="balanced", classifier=kind), features) for kind in ("joint", "separate")
    )
    assert joint.history == separate.history
    assert joint.scores == separate.scores
    assert all(separate.head.state_dict()[name].equal(value) for name, value in joint.head.state_dict().items())
