"""Which parts of an image make it similar to another: each position's share of the cosine.

With the lengths of the features and of the embedding held at what they are, a head is a linear map, so that the cosine
is a sum over the components of the image's feature; and where the feature is the mean over positions, a sum over these,
exactly. For a class token or attention pooling it is what each patch's own token would add.

    contributions(embedder, image, other).values      # (H, W) float32; other: (d,) an embedding
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from probe.backbones import positions
from probe.embed.embedder import Embedder
from probe.errors import UsageError
from probe.heads import Head, Normalize

NEAR = 1e-2  # of the feature's length: rounding, in half precision too


@dataclass(frozen=True)
class Contributions:
    values: np.ndarray
    """(H, W) float32."""
    exact: bool
    """Whether `values` and `rest` add up to the cosine."""
    rest: float
    """What does not depend on the image, from the head's constants."""
    seen: tuple[float, float, float, float]
    """The part of the image that the backbone sees, and `values` cover: left, top, width, height as shares."""


@torch.inference_mode()
def contributions(embedder: Embedder, image: Image.Image, other: np.ndarray) -> Contributions:
    """`image`: RGB, upright. `other` (d,): the embedding that it is similar to.

    Raises UsageError, in one sentence, for an embedder of which this cannot be told.
    """
    if len(embedder.encoders) > 1 or embedder.selection.append:
        raise UsageError("its features are of several backbones, or of the image's size too, which lie in no one grid.")
    if embedder.distance != "cosine":
        raise UsageError("its embeddings are compared by Euclidean distance, which is no sum over parts.")
    encoder = embedder.encoders[0]
    pixels = torch.from_numpy(encoder.prepare(image)[0][None].copy())
    grid = positions(encoder, pixels)
    if grid is None:
        name = embedder.selection.backbones[0]
        raise UsageError(f"the backbone '{name}' gives no features by position, so that nothing is known of its parts.")
    feature = encoder(pixels)[0]
    weights, rest = _linear_part(embedder, feature, other)
    exact = bool((grid.mean(dim=(0, 1)) - feature).norm() <= NEAR * feature.norm())
    values = grid @ weights / grid[..., 0].numel()
    seen = encoder.prepare.seen(image.size)  # pyright: ignore[reportFunctionMemberAccess]
    return Contributions(values.numpy(), exact, rest, seen)


def _linear_part(embedder: Embedder, feature: torch.Tensor, other: np.ndarray) -> tuple[torch.Tensor, float]:
    """(D,) w and a constant c, so that w · feature + c is the cosine of the feature's embedding and `other`."""
    head: nn.Module = embedder.head
    layers = list(head.layers() if isinstance(head, Head) else head.children())
    rows, scales = feature[None].to(embedder.device), []
    for layer in layers:
        scales.append(1 / rows.norm().clamp_min(1e-12))
        rows = layer(rows)
    towards = F.normalize(torch.from_numpy(np.asarray(other, np.float32)), dim=0).to(rows.device)
    towards, rest = towards / rows.norm().clamp_min(1e-12), rows.new_zeros(())
    for layer, scale in zip(reversed(layers), reversed(scales), strict=True):
        if isinstance(layer, Normalize):
            towards = towards * scale
        elif isinstance(layer, nn.Linear):
            rest = rest + (layer.bias @ towards if layer.bias is not None else 0)
            towards = towards @ layer.weight
        else:
            raise UsageError(f"its head has a layer of its own ({type(layer).__name__}), which may not be linear.")
    return towards.cpu(), float(rest)
