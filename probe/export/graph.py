"""The exported computation as one PyTorch module, which is what other formats are made of.

module = EmbeddingModule(backbone, head)            # (B, 3, px, px) normalised -> (B, dim)
module = PixelModule(module, row)                   # (B, 3, height, width) uint8 -> (B, dim)
"""

import torch
from torch import nn

from probe.backbones import BackboneRow


class EmbeddingModule(nn.Module):
    """Normalised images (B, 3, px, px) -> (B, dim)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


class PixelModule(nn.Module):
    """Images of one size (B, 3, height, width) uint8 -> (B, dim): resized, cropped and normalised as the row says.

    Resizing is two products with matrices that are made of the sizes by plain tensor operations, so that every format
    can have it for images of any size; rounded to 8 bits where Pillow, or torchvision on tensors, does.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, embedding: nn.Module, row: BackboneRow) -> None:
        super().__init__()
        self.embedding = embedding
        self.px, self.scaled, self.squash = row.px, row.scaled, row.resize == "squash"
        self.floors, self.twice = row.offset == "floor", row.resampling == "pillow"
        self.kernel = {"bicubic": cubic, "bilinear": triangle}[row.interpolation]
        self.register_buffer("mean", torch.tensor(row.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(row.std).view(3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns = (torch.ones_like(line, dtype=torch.float32) for line in (images[0, 0, :, 0], images[0, 0, 0]))
        shorter = torch.minimum(rows.sum(), columns.sum())
        across = images.float() @ self._weights(columns, shorter).T  # (B, 3, height, width) @ (width, px)
        across = _in_8_bits(across) if self.twice else across
        pixels = _in_8_bits(self._weights(rows, shorter) @ across)  # (px, height) @ (B, 3, height, px)
        return self.embedding((pixels / 255 - self.mean) / self.std)

    def _weights(self, ones: torch.Tensor, shorter: torch.Tensor) -> torch.Tensor:
        """(side,) ones, and the length of the shorter side -> (px, side): each new pixel as a mean of the old ones."""
        side = ones.sum()
        scaled = torch.full_like(side, self.scaled) if self.squash else (self.scaled * side / shorter).floor()
        half = (scaled - self.px) / 2
        step = side / scaled
        centres = (torch.arange(self.px) + 0.5 + (half.floor() if self.floors else half.round())) * step  # (px,)
        places = ones.cumsum(0) - 0.5  # (side,)
        weights = self.kernel((places - centres[:, None]) / step.clamp(min=1))  # wider than a pixel: antialiased
        return weights / weights.sum(dim=1, keepdim=True)


def cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' kernel with a = -1/2, as Pillow has it."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


def _in_8_bits(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.round().clamp(0, 255)
