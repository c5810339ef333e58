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
from probe.heads.linear import DropoutLinear
from probe.heads.pca import PCAWhitening
from probe.heads.pooling import AveragePooling, FullDimension


def build_head(config: heads.HeadConfig, in_dim: int, generator: torch.Generator) -> nn.Module:
    """The head before it is trained or fitted; random initial values come from the generator, on its device."""
    match config:
        case heads.FullDimension():
            return FullDimension()
        case heads.AveragePooling():
            return AveragePooling(in_dim, config.dim)
        case heads.RandomProjection():
            return DropoutLinear(in_dim, config.dim, dropout=0.0, generator=generator)
        case heads.PCAWhitening():
            return PCAWhitening(in_dim, config.dim)
        case heads.Linear():
            return DropoutLinear(in_dim, config.dim, config.dropout, generator)


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
