"""The open_clip adapter: the image tower of any open_clip model; its text tower is never made.

A tag that was trained with QuickGELU needs the model's `-quickgelu` configuration, where open_clip only warns.

    module = build(row, Path("open_clip_model.safetensors"))      # (B, 3, px, px) -> (B, D)
"""

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import _build_vision_tower

from probe.backbones.checkpoint import below, fit, read_state
from probe.backbones.plain import PlainCode
from probe.backbones.row import BackboneRow
from probe.errors import UsageError, nearest

FEATURES = ("pre-projection", "projected")


def row_of(name: str) -> BackboneRow:
    """The row of `MODEL/TAG`, with the preprocessing of its tag."""
    model, _, tag = name.partition("/")
    configuration, tags = _configuration(model), open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise UsageError(f"open_clip:{name} names no pretrained tag of {model}; {nearest(tag, tags)}")
    pretrained = open_clip.get_pretrained_cfg(model, tag)
    if pretrained["resize_mode"] not in ("shortest", "squash"):
        raise UsageError(f"open_clip:{name} resizes by '{pretrained['resize_mode']}'; write it a catalogue row.")
    px = configuration["vision_cfg"].get("image_size", 224)
    repository, file = split_hub_name(pretrained.get("hf_hub", ""))
    row = BackboneRow(
        library="open_clip",
        model=name,
        px=px if isinstance(px, int) else px[0],
        feature="pre-projection",
        resize="squash" if pretrained["resize_mode"] == "squash" else "shortest+crop",
        interpolation=pretrained["interpolation"],
        mean=pretrained["mean"],
        std=pretrained["std"],
        repository=repository,
        file=file,
        weights=None if repository else pretrained.get("url") or "of your own",
    )
    _check_activation(row)
    return row


def split_hub_name(name: str) -> tuple[str | None, str | None]:
    """open_clip writes `org/name/` or `org/name/file`."""
    organisation, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    return (f"{organisation}/{repository}" if repository else None), file or None


def build(row: BackboneRow, weights: Path | None) -> torch.nn.Module:
    """Images (B, 3, px, px) -> the row's feature (B, D); random weights where no file is given."""
    if row.feature not in FEATURES:
        raise UsageError(f"open_clip's {row.model} has no feature '{row.feature}'; there are {', '.join(FEATURES)}.")
    _check_activation(row)
    tower = _tower(row)
    if weights is not None:
        state = read_state(weights, row.prefix)
        fit(tower, below(state, "visual.") or state, weights)
    return tower if row.feature == "projected" else _without_projection(tower, row)


def _tower(row: BackboneRow) -> Any:
    try:
        return _build_vision_tower(*_tower_arguments(row))
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"open_clip cannot make {row.model} with options {row.options}: {error}.") from error


def _tower_arguments(row: BackboneRow) -> tuple[int, Any, bool]:
    """Length of the projected features, options of the tower, whether it computes QuickGELU."""
    configuration = _configuration(row.model.partition("/")[0]) | row.options
    vision = configuration["vision_cfg"] | {"timm_model_pretrained": False, "output_tokens": False}
    return configuration["embed_dim"], vision, configuration.get("quick_gelu", False)


def plain_code(row: BackboneRow) -> PlainCode:
    """What `build` makes."""
    dim, vision, quick = _tower_arguments(row)
    made = [f"backbone = _build_vision_tower({dim}, {vision!r}, {quick})"]
    if row.feature == "pre-projection":
        in_timm = ["backbone = backbone.trunk", "backbone.reset_classifier(0)"]
        made += in_timm if "timm_model_name" in vision else ["backbone.proj = None"]
    return PlainCode("from open_clip.model import _build_vision_tower", made)


def _without_projection(tower: Any, row: BackboneRow) -> torch.nn.Module:
    if hasattr(tower, "trunk"):  # a timm model with the projection behind it, or as its classifier
        tower.trunk.reset_classifier(0)
        return tower.trunk
    if not hasattr(tower, "proj"):
        raise UsageError(f"open_clip's {row.model} has no projection to cut off; its feature is `projected`.")
    tower.proj = None
    return tower


def _configuration(model: str) -> dict[str, Any]:
    configuration = open_clip.get_model_config(model)
    if configuration is None:
        raise UsageError(f"open_clip has no model '{model}'; {nearest(model, open_clip.list_models())}")
    return configuration


def _check_activation(row: BackboneRow) -> None:
    model, _, tag = row.model.partition("/")
    quick = _configuration(model).get("quick_gelu", False)
    trained = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False) if tag else quick
    if quick != trained:
        right = f"{model}-quickgelu" if trained else model.removesuffix("-quickgelu")
        raise UsageError(
            f"open_clip's {model} computes {'QuickGELU' if quick else 'GELU'} and its tag '{tag}' was trained with "
            f"{'QuickGELU' if trained else 'GELU'}; use {right}/{tag}."
        )
