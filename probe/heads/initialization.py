"""Initial values of a linear map, D -> d, drawn from a generator on its device: (d, D) weights and (d,) biases.

weight = lecun_normal(1024, 64, torch.Generator().manual_seed(0))
"""

import math

import torch

from probe.errors import UsageError

TRUNCATED_STD = 0.87962566103423978  # of a standard normal variable cut off at ±2


def uniform(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """U(±1/sqrt(D)): PyTorch's own for nn.Linear."""
    return _uniform((dim, in_dim), 1 / math.sqrt(in_dim), generator)


def uniform_bias(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """(d,) of U(±1/sqrt(D)): PyTorch's own for nn.Linear."""
    return _uniform((dim,), 1 / math.sqrt(in_dim), generator)


def xavier_uniform(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """U(±sqrt(6 / (D + d))) (Glorot and Bengio 2010, equation 16)."""
    return _uniform((dim, in_dim), math.sqrt(6 / (in_dim + dim)), generator)


def lecun_uniform(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """U(±sqrt(3/D)), whose standard deviation is 1/sqrt(D): flax's own of that name."""
    return _uniform((dim, in_dim), math.sqrt(3 / in_dim), generator)


def lecun_normal(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Normal, cut off at two standard deviations, with standard deviation 1/sqrt(D) after the cut: flax's own."""
    std = 1 / math.sqrt(in_dim) / TRUNCATED_STD
    weight = torch.empty(dim, in_dim, device=generator.device)
    return torch.nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)


def zeros(dim: int, generator: torch.Generator) -> torch.Tensor:
    """(d,), on the generator's device."""
    return torch.zeros(dim, device=generator.device)


def gaussian(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """N(0, 1/D)."""
    return torch.randn(dim, in_dim, generator=generator, device=generator.device) / math.sqrt(in_dim)


def orthogonal(in_dim: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """d orthonormal rows, uniform over all such. Raises UsageError when d > D."""
    if dim > in_dim:
        raise UsageError(f"{dim} orthogonal directions: the features have only {in_dim} dimensions; lower head.dim.")
    draw = torch.randn(in_dim, dim, generator=generator, device=generator.device, dtype=torch.float64)
    q, r = torch.linalg.qr(draw)
    return (q * r.diagonal().sign()).T.float().contiguous()


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=generator, device=generator.device) * 2 - 1) * bound
