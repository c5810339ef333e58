"""From a head's configuration to the module, and the module on disk.

head = build_head(config, in_dim=1152, generator=generator)
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from probe.errors import UsageError, first_line
from probe.heads import config as heads
from probe.heads.initialization import gaussian, lecun_normal, orthogonal, uniform, uniform_bias, xavier_uniform
from probe.heads.linear import BatchNorm, BatchNormLinear, LinearHead
from probe.heads.pca import PCA, PCAWhitening
from probe.heads.pooling import AveragePooling, FullDimension

DISTRIBUTIONS = {"uniform": uniform, "gaussian": gaussian, "orthogonal": orthogonal}


def build_head(config: heads.HeadConfig, in_dim: int, generator: torch.Generator) -> nn.Module:
    """The head before it is trained or fitted; random initial values come from the generator, on its device."""
    match config:
        case heads.FullDimension():
            return FullDimension()
        case heads.AveragePooling():
            return AveragePooling(in_dim, config.dim)
        case heads.PCAWhitening():
            return PCAWhitening(in_dim, config.dim, generator.device)
        case heads.RandomProjection():
            weight = DISTRIBUTIONS[config.distribution](in_dim, config.dim, generator)
            return LinearHead(weight, uniform_bias(in_dim, config.dim, generator) if config.bias else None, generator)
        case heads.Linear():
            return _dropout_linear(in_dim, config.dim, config.dropout, generator)
        case heads.L2LinearL2():
            weight = lecun_normal(in_dim, config.dim, generator)
            return LinearHead(weight, _zeros(config.dim, generator), generator, l2_input=True, l2_output=True)
        case heads.LinearL2():
            weight = xavier_uniform(in_dim, config.dim, generator)
            return LinearHead(weight, _zeros(config.dim, generator), generator, l2_input=True, l2_output=True)
        case heads.BatchNormLinear():
            linear = _dropout_linear(in_dim, config.hidden, config.dropout, generator)
            return BatchNormLinear(BatchNorm(in_dim, generator.device), linear, _reduction(config, generator.device))


def _dropout_linear(in_dim: int, dim: int, dropout: float, generator: torch.Generator) -> LinearHead:
    weight = uniform(in_dim, dim, generator)
    return LinearHead(weight, uniform_bias(in_dim, dim, generator), generator, dropout=dropout)


def _reduction(config: heads.BatchNormLinear, device: torch.device) -> PCA | AveragePooling:
    if config.reduction == "pca":
        return PCA(config.hidden, config.dim, device)
    return AveragePooling(config.hidden, config.dim)


def _zeros(dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.zeros(dim, device=generator.device)


def save_head(head: nn.Module, path: Path) -> None:
    """Parameters and buffers as safetensors."""
    state = {key: value.detach().cpu().contiguous() for key, value in head.state_dict().items()}
    save_file(state, path)


def load_head(config: heads.HeadConfig, path: Path, in_dim: int, device: torch.device) -> nn.Module:
    """A head that `save_head` wrote, in eval mode. Raises UsageError when the file is damaged or another head's."""
    head = build_head(config, in_dim, torch.Generator(device))
    try:
        head.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UsageError(f"{path} is not the head of this run ({first_line(error)}); fit it again.") from error
    return head.to(device).eval()
