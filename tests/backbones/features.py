"""What an encoder gives for image files, as extraction runs it."""

from pathlib import Path

import torch

from probe.backbones.encoder import Encoder
from probe.data.loading import Prepare


def pixels_of(prepare: Prepare, images: list[Path]) -> torch.Tensor:
    """(B, px, px, 3) uint8."""
    return torch.stack([torch.from_numpy(prepare(image)[0].copy()) for image in images])


def features_of(encoder: Encoder, images: list[Path]) -> torch.Tensor:
    """(B, dim) float32."""
    return encoder(pixels_of(encoder.prepare, images))


def normalised(prepare: Prepare, mean: tuple[float, ...], std: tuple[float, ...], images: list[Path]) -> torch.Tensor:
    """(B, 3, px, px): what the library's own transform should give."""
    scaled = pixels_of(prepare, images).permute(0, 3, 1, 2).float().div(255)
    return scaled.sub(torch.tensor(mean).view(3, 1, 1)).div(torch.tensor(std).view(3, 1, 1))
