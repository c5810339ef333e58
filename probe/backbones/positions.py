"""What a backbone sees where: a feature for each position of its last map or grid of patches, in the space of the
image's feature.

A position's feature is what the backbone's own pooling makes of that position alone. Where pooling is an average, the
image's feature is the mean of the positions'. For a class token or attention it is not; a position's feature is then
what the patch's own token says.

    positions(encoder, pixels[None])      # (H, W, D) float32, or None where the backbone has none
"""

from typing import Any

import torch
from torch import nn

from probe.backbones.encoder import Encoder
from probe.backbones.module import ModuleEncoder


@torch.inference_mode()
def positions(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor | None:
    """(1, px, px, 3) uint8 -> (H, W, D) float32 on the CPU; None for a backbone of a kind that gives no positions."""
    if not isinstance(encoder, ModuleEncoder):
        return None
    module: Any = encoder.module
    images = encoder.normalised(pixels).to(encoder.dtype)  # (1, 3, px, px)
    if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
        found = _of_timm(module, images)
    elif hasattr(module, "forward_intermediates") and hasattr(module, "ln_post"):
        found = _of_open_clip(module, images)
    elif hasattr(module, "row") and hasattr(module, "model"):
        found = _of_transformers(module.model, images)
    else:
        found = None
    return found.float().cpu() if found is not None and found.shape[-1] == encoder.dim else None


def _of_timm(model: Any, images: torch.Tensor) -> torch.Tensor | None:
    features = model.forward_features(images)
    if not isinstance(features, torch.Tensor):
        return None
    if features.ndim == 4:
        first = features.shape[1] == model.num_features  # else the channels are last, as in a Swin transformer
        height, width = features.shape[2:] if first else features.shape[1:3]
        alone = features[0].flatten(1).T[:, :, None, None] if first else features[0].flatten(0, 1)[:, None, None]
    else:
        prefix = getattr(model, "num_prefix_tokens", 0)
        tokens = features[0, prefix:]  # (N, C)
        height, width = _sides(len(tokens))
        alone = tokens[:, None].expand(-1, prefix + 1, -1)  # in the place of each token that a pooling may take
    return _grid(model.forward_head(alone), height, width)


def _of_open_clip(tower: Any, images: torch.Tensor) -> torch.Tensor | None:
    """Of open_clip's own vision transformer, the tokens of its last layer."""
    if tower.attn_pool is not None:
        return None
    found = tower.forward_intermediates(
        images, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NLC"
    )
    tokens = found["image_intermediates"][-1][0]  # (N, C)
    if tower.proj is not None:
        tokens = tokens @ tower.proj
    return _grid(tokens, *_sides(len(tokens)))


def _of_transformers(model: Any, images: torch.Tensor) -> torch.Tensor | None:
    last = model(pixel_values=images).last_hidden_state
    if last.ndim == 4:  # pooled by an average, which some norm
        return _grid(getattr(model, "layernorm", nn.Identity())(last[0].flatten(1).T), *last.shape[2:])
    side = int(last.shape[1] ** 0.5)  # class and register tokens come first, and are fewer than a row more
    prefix = last.shape[1] - side * side
    tokens = last[0, prefix:]  # (N, C)
    tower = getattr(model, "vision_model", model)
    pool = getattr(tower, "head", None) or getattr(tower, "pooler", None)
    if pool is not None:
        return _grid(pool(tokens[:, None].expand(-1, prefix + 1, -1)), side, side)
    return _grid(getattr(tower, "post_layernorm", nn.Identity())(tokens), side, side)


def _sides(count: int) -> tuple[int, int]:
    """Of a square image's grid of so many patches."""
    side = round(count**0.5)
    return (side, side) if side * side == count else (0, 0)


def _grid(features: torch.Tensor, height: int, width: int) -> torch.Tensor | None:
    """(H * W, D) -> (H, W, D)."""
    return features.reshape(height, width, -1) if features.ndim == 2 and len(features) == height * width else None
