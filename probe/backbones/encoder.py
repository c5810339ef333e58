"""A backbone that has been loaded: `prepare` runs in worker processes, the call itself on the device.

encoder = load_encoder(backbone, device, "bf16")
features = encoder(torch.stack([torch.from_numpy(encoder.prepare(path)[0]) for path in paths]))    # (B, D)
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from probe.backbones.catalogue import Backbone, adapter
from probe.backbones.preprocessing import ImageFile, PrepareImage, Preprocessing
from probe.backbones.row import BackboneRow
from probe.precision import Precision, choose_precision


class Encoder(Protocol):
    """Batch of prepared images -> (B, dim) float32 features on the CPU."""

    dim: int
    precision: Precision
    """Of the forward pass."""
    prepare: PrepareImage

    def __call__(self, batch: torch.Tensor, /) -> torch.Tensor: ...


def load_encoder(backbone: Backbone, device: torch.device, precision: str = "fp32") -> Encoder:
    """The frozen encoder of a backbone, its weights checked and on the device.

    `precision`: fp32, bf16, fp16, or auto, for the fastest that the device has hardware for; the built-in descriptor
    has no choice.
    """
    if backbone.row.library == "built-in":
        return DescriptorEncoder(backbone.row)
    from probe.backbones.module import ModuleEncoder

    weights = backbone.weights_file
    assert weights and backbone.weights_sha256, "only built-in backbones have no weights"  # noqa: PT018
    module = adapter(backbone.row.library).build(backbone.row, weights)
    return ModuleEncoder(module, backbone.row, device, choose_precision(precision, device)[0])


def restore_encoder(
    row: BackboneRow, state: dict[str, torch.Tensor], file: Path, device: torch.device, precision: str = "fp32"
) -> Encoder:
    """The encoder of a module whose state was saved as `build` makes it, rather than as its authors published it.

    `file`: where the state is from, for the errors. Raises UsageError unless it fits.
    """
    from probe.backbones.checkpoint import fit
    from probe.backbones.module import ModuleEncoder

    module = adapter(row.library).build(row, None)
    fit(module, state, file)
    return ModuleEncoder(module, row, device, choose_precision(precision, device)[0])


class DescriptorEncoder:
    """The built-in descriptor: all the work is in the workers, so there is nothing left to do on the device."""

    def __init__(self, row: BackboneRow) -> None:
        from probe.backbones.descriptor import DIM

        self.dim, self.precision = DIM, Precision.fp32
        self.prepare: PrepareImage = _Describe(row)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return batch


class _Describe:
    def __init__(self, row: BackboneRow) -> None:
        self.pixels = Preprocessing(row)

    def __call__(self, file: ImageFile) -> tuple[np.ndarray, tuple[int, int]]:
        from probe.backbones.descriptor import describe

        pixels, size = self.pixels(file)
        return describe(pixels), size
