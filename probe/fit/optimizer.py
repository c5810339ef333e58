"""The optimisers, over the weights of the head and of the classifiers, and their state as named tensors.

optimizer = build_optimizer(objective.parameters(), Training())
"""

from collections.abc import Iterable

import torch
from torch import nn

from probe.fit.config import Training


def build_optimizer(weights: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """Adam with L2 in the gradient, AdamW with decoupled decay, or SGD with momentum, fused.

    The rate is set before each step. SGD has a group for each weight: in one group PyTorch's fused step takes none that
    moves for the first time, as a thawed head or another domain's classifier does, beside others with a momentum.
    """
    decay = training.weight_decay
    match training.optimizer:
        case "adam":
            return torch.optim.Adam(weights, lr=training.lr, betas=_betas(training), weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(weights, lr=training.lr, betas=_betas(training), weight_decay=decay, fused=True)
        case "sgd":
            momentum, nesterov = training.momentum or 0.0, bool(training.nesterov)
            groups = [{"params": [weight]} for weight in weights]
            return torch.optim.SGD(
                groups, lr=training.lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )


def _betas(training: Training) -> tuple[float, float]:
    if training.betas is None:
        raise ValueError(f"Training fills in the betas of {training.optimizer}")
    return training.betas


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
