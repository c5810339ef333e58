"""A PyTorch module as a frozen encoder: eval mode (no dropout, no drop-path), its device, normalisation, precision.

Half precision means half-precision weights, not autocast: under `inference_mode` autocast casts the weights anew in
every pass, which is slower than fp32. Features come back as float32 whatever the precision.

    encoder = ModuleEncoder(module, row, torch.device("cpu"), Precision.bf16)
    encoder(pixels)       # (B, px, px, 3) uint8 -> (B, D) float32
"""

import torch

from probe.backbones.preprocessing import PrepareImage, Preprocessing
from probe.backbones.row import BackboneRow
from probe.errors import UsageError
from probe.precision import Precision


class ModuleEncoder:
    """Any module that takes normalised images (B, 3, px, px) and gives features (B, D)."""

    def __init__(self, module: torch.nn.Module, row: BackboneRow, device: torch.device, precision: Precision) -> None:
        """Raises UsageError when the module does not take images of the row's size or give vectors of its length."""
        self.precision, self.dtype = precision, getattr(torch, precision.dtype_name)
        self.module = module.eval().requires_grad_(False).to(device, self.dtype)
        self.device = device
        self.mean = torch.tensor(row.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(row.std, device=device).view(3, 1, 1)
        self.prepare: PrepareImage = Preprocessing(row)
        try:
            shape = tuple(self(torch.zeros(1, row.px, row.px, 3, dtype=torch.uint8)).shape)
        except (AssertionError, RuntimeError, ValueError) as error:  # what the libraries raise for another size
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"{row.library}'s {row.model} does not run on images of {row.px} x {row.px}: {reason}; check the row's "
                "px and options."
            ) from error
        if len(shape) != 2 or row.dim not in (None, shape[1]):
            wanted = f"{row.dim} numbers" if row.dim else "one vector"
            raise UsageError(
                f"{row.library}'s {row.model} gives {row.feature} features of shape {shape[1:]}, not {wanted} an "
                "image; check the row's feature, options and dim."
            )
        self.dim = shape[1]

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, px, px, 3) uint8 -> (B, D) float32 on the CPU."""
        return self.module(self.normalised(pixels).to(self.dtype)).float().cpu()

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, px, px, 3) uint8 -> (B, 3, px, px) float32 on its device, as the module takes them."""
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div(255)
        return images.sub(self.mean).div(self.std)
