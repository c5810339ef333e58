"""Sharpness-aware minimization: a step goes by the gradient from where the batch's loss is highest nearby.

Both passes are of one function of the weights: the second begins with the buffers (a loss's statistics, batch
normalisation's) and the dropout of the first. The weights and the buffers stay as the first pass leaves them.

    ascent = Ascent(objective, generator, radius=0.05)     # before the first pass
    objective(features, labels, domain).backward()
    ascent.replace_gradients(features, labels, domain)
    optimizer.step()
"""

import torch
from torch.func import functional_call

from probe.fit.objective import Objective

_LEAST_NORM = 1e-12  # a gradient of zeros has no direction to go up


class Ascent:
    """A second pass over a step's batch. `generator`: what the objective draws from."""

    def __init__(self, objective: Objective, generator: torch.Generator, radius: float) -> None:
        self._objective, self._generator, self._radius = objective, generator, radius
        self._buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
        self._state = generator.get_state()

    def replace_gradients(self, features: torch.Tensor, labels: torch.Tensor, domain: int | None) -> None:
        """Puts ∇L(w + ε) in the place of ∇L(w), where ε = radius · ∇L(w) / |∇L(w)|₂ over all weights that have a
        gradient (Foret et al., ICLR 2021, equation 2 for p = 2, and algorithm 1). Weight decay is no part of L."""
        weights = dict(self._objective.named_parameters())
        gradients = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in gradients.values()]))
        factor = self._radius / norm.clamp_min(_LEAST_NORM)
        moved = {
            name: torch.addcmul(weights[name].detach(), gradient, factor).requires_grad_()
            for name, gradient in gradients.items()
        }
        self._generator.set_state(self._state)
        value = functional_call(self._objective, moved | self._buffers, (features, labels, domain))
        found = torch.autograd.grad(value, list(moved.values()), allow_unused=True)
        for name, gradient in zip(moved, found, strict=True):
            if gradient is not None:  # another domain's classifier keeps its zeros
                weights[name].grad = gradient
