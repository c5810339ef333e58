"""The optimizers against steps written out in float64 from their papers."""

from typing import Any

import numpy as np
import pytest
import torch

from probe.fit import OPTIMIZERS, Training
from probe.fit.optimizers import build_optimizer, optimizer_tensors, restore_optimizer, set_rate

STEPS, EPS = 7, 1e-8
RATES = [0.1 / (step + 1) for step in range(STEPS)]


def adam(w: np.ndarray, grads: list[np.ndarray], training: Training, coupled: bool) -> np.ndarray:
    """Kingma & Ba, algorithm 1; the decay in the gradient (L2) or taken off the weights (Loshchilov & Hutter)."""
    (b1, b2), decay = training.model_dump()["betas"], training.weight_decay
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (gradient, rate) in enumerate(zip(grads, RATES, strict=True), 1):
        g = gradient + decay * w if coupled else gradient
        w = w if coupled else w - rate * decay * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + EPS)
    return w


def sgd(w: np.ndarray, grads: list[np.ndarray], training: Training) -> np.ndarray:
    """Momentum as Sutskever et al. have it without the rate in the velocity: v = μv + g, first v = g."""
    options, velocity = training.model_dump(), None
    momentum = options["momentum"]
    for gradient, rate in zip(grads, RATES, strict=True):
        g = gradient + training.weight_decay * w
        velocity = g if velocity is None else momentum * velocity + g
        w = w - rate * (g + momentum * velocity if options["nesterov"] else velocity)
    return w


CASES: list[dict[str, Any]] = [
    {"optimizer": "adam", "weight_decay": 0.1},
    {"optimizer": "adam", "betas": (0.5, 0.9), "weight_decay": 0.0},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
]


def test_every_optimizer_is_held_against_its_paper() -> None:
    assert {case["optimizer"] for case in CASES} == {*OPTIMIZERS.kinds}


def stepped(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, grads: list, rates: list[float]) -> None:
    for gradient, rate in zip(grads, rates, strict=True):
        set_rate(optimizer, rate)
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()


@pytest.mark.parametrize("options", CASES, ids=str)
def test_it_equals_the_steps_of_its_paper(options: dict[str, Any]) -> None:
    random, training = np.random.default_rng(0), Training(**options)
    start, grads = random.normal(size=(5, 3)), [random.normal(size=(5, 3)) for _ in range(STEPS)]
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    stepped(weight, build_optimizer([weight], training), grads, RATES)
    kind = training.optimizer.kind
    expected = sgd(start, grads, training) if kind == "sgd" else adam(start, grads, training, coupled=kind == "adam")
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_restored_optimizer_goes_on_with_the_same_bits(options: dict[str, Any]) -> None:
    random, training = np.random.default_rng(1), Training(**options)
    grads = [random.normal(size=(5, 3)) for _ in range(STEPS)]
    undisturbed, first = (torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    stepped(undisturbed, build_optimizer([undisturbed], training), grads, RATES)
    before = build_optimizer([first], training)
    stepped(first, before, grads[:3], RATES[:3])
    second = torch.nn.Parameter(first.detach().clone())
    after = build_optimizer([second], training)
    restore_optimizer(after, {name: value.clone() for name, value in optimizer_tensors(before).items()})
    stepped(second, after, grads[3:], RATES[3:])
    assert torch.equal(second, undisturbed)
