"""What an optimizer is: torch's, with a configuration; what is done with all alike, and their state as named tensors.

optimizer = build_optimizer(objective.parameters(), Training(optimizer="sgd"))
set_rate(optimizer, 1e-3)       # before each step
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probe.registry import Registry

if TYPE_CHECKING:
    from probe.fit.training import Training

OPTIMIZERS: Registry[Any] = Registry(
    "optimizer",
    "probe.fit.optimizers",
    torch.optim.Optimizer,
    lambda optimizer, config: optimizer([nn.Parameter(torch.zeros(1))], config, 1.0, 0.0),
)
"""Classes of torch.optim.Optimizer, made as Class(weights, config, lr, weight_decay)."""


def build_optimizer(weights: Iterable[nn.Parameter], training: "Training") -> torch.optim.Optimizer:
    """Over the weights of the head and of the classifiers."""
    config = training.optimizer
    return OPTIMIZERS.find(config.kind)(weights, config, training.lr, training.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def hold_gradients(module: nn.Module, but: nn.Module) -> None:
    """Gives every weight of `module` that is not one of `but` a gradient of zeros, so that a step without a part of it
    moves that part as JAX and optax do: by its momentum and its decay. Zero them in place, never to None."""
    left_out = {id(weight) for weight in but.parameters()}
    for weight in module.parameters():
        if id(weight) not in left_out:
            weight.grad = torch.zeros_like(weight)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Moments and step counts, named `<number of the weight>.<name>`; rates and decays are the configuration's."""
    return {
        f"{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
