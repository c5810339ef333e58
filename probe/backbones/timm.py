"""The timm adapter: any timm model as a frozen backbone, with pooled features before its classifier.

The module comes from timm without weights; those come from a file whose every key must match, after timm's own
conversion of published checkpoints (which also fits position embeddings to another image size).

    module = build(row, Path("model.safetensors"))      # (B, 3, px, px) -> (B, D)
"""

import sys
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import model_entrypoint

from probe.backbones.checkpoint import State, fit, read_state, report_differences
from probe.backbones.plain import PlainCode
from probe.backbones.row import BackboneRow
from probe.errors import UsageError, nearest

FEATURES = ("pooled", "pre-projection", "projected", "pre-neck", "gem", "flattened")
GRID = 2  # cells along each side of a map that is flattened


def row_of(name: str) -> BackboneRow:
    """The row of a timm model, with the preprocessing of its pretrained configuration."""
    configuration = _configuration(name)
    if configuration.input_size[-1] != configuration.input_size[-2]:
        raise UsageError(
            f"timm:{name} takes images of {configuration.input_size[-2:]}; only square ones are supported."
        )
    if configuration.crop_mode not in ("center", "squash"):
        raise UsageError(f"timm:{name} wants crop mode '{configuration.crop_mode}'; write it a catalogue row.")
    return BackboneRow(
        library="timm",
        model=name,
        px=configuration.input_size[-1],
        resize="squash" if configuration.crop_mode == "squash" else "shortest+crop",
        crop_pct=configuration.crop_pct,
        interpolation=configuration.interpolation,  # pyright: ignore[reportArgumentType]
        mean=configuration.mean,  # pyright: ignore[reportArgumentType]
        std=configuration.std,  # pyright: ignore[reportArgumentType]
        repository=configuration.hf_hub_id,
        file=configuration.hf_hub_filename,
        weights=None if configuration.hf_hub_id else str(configuration.url or "of your own"),
    )


def _configuration(name: str):
    if not timm.is_model(name.split(".")[0]):
        raise UsageError(f"timm has no model '{name}'; {nearest(name.split('.')[0], timm.list_models())}")
    try:
        configuration = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UsageError(f"timm:{name}: {error} See `timm.list_pretrained('{name.split('.')[0]}*')`.") from error
    if configuration is None:
        raise UsageError(f"timm has no pretrained configuration '{name}'; write it a catalogue row.")
    return configuration


def build(row: BackboneRow, weights: Path | None) -> torch.nn.Module:
    """Images (B, 3, px, px) -> the row's feature (B, D); random weights where no file is given."""
    if row.feature not in FEATURES:
        raise UsageError(f"timm's {row.model} has no feature '{row.feature}'; there are {', '.join(FEATURES)}.")
    try:
        model: Any = timm.create_model(row.model, pretrained=False, **_options(row))
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"timm cannot make {row.model} with options {row.options}: {error}.") from error
    if weights is not None:
        _load(model, row, weights)
    if row.feature == "pre-neck":
        model.neck = torch.nn.Identity()
    if row.feature == "gem":
        model.global_pool = GeM()
    if row.feature == "flattened":
        return Flattened(model, row.model)
    return model


def _options(row: BackboneRow) -> dict[str, Any]:
    return row.options if row.feature == "projected" else {"num_classes": 0} | row.options


def plain_code(row: BackboneRow) -> PlainCode:
    """What `build` makes."""
    options = "".join(f", {name}={value!r}" for name, value in _options(row).items())
    made = [f"backbone = timm.create_model({row.model!r}{options})"]
    if row.feature == "pre-neck":
        made.append("backbone.neck = torch.nn.Identity()")
    if row.feature == "gem":
        maps = "backbone.forward_features(images)"
        return PlainCode("import timm", made, f"{maps}.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)")
    if row.feature == "flattened":
        pooled = f"F.adaptive_avg_pool2d(backbone.forward_features(images), {GRID}).flatten(1)"
        return PlainCode("import timm", made, pooled, prefix="model.")
    return PlainCode("import timm", made)


def _load(model: Any, row: BackboneRow, weights: Path) -> None:
    state = _converted(read_state(weights, row.prefix), model, row.model, weights)
    heads = model.pretrained_cfg.get("classifier") or ()
    if row.feature != "projected":  # a classifier that the file brings is left out, everything else must match
        heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
    fit(model, state, weights)


def _converted(state: State, model: torch.nn.Module, name: str, weights: Path) -> State:
    """By timm's convention the file that defines a model has the function that converts its published checkpoints."""
    module = sys.modules[model_entrypoint(name.split(".")[0]).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted = convert(dict(state), model)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"{weights} does not fit {name}: timm cannot convert it ({error}).") from error
    # timm would also resample patch embeddings, so that the weights of another patch size seemed to fit.
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in converted.items()
        if key in state and state[key].numel() != value.numel() and "pos" not in key
    ]
    report_differences(weights, [], [], shapes)
    return converted


class Flattened(torch.nn.Module):
    """The last map averaged to GRID x GRID cells, channel after channel: (B, 3, px, px) -> (B, D * GRID ** 2)."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.model.forward_features(images)  # (B, D, H, W)
        if maps.ndim != 4 or maps.shape[1] != self.model.num_features:
            raise UsageError(f"timm's {self.name} ends in no map of (channels, height, width) that could be flattened.")
        return torch.nn.functional.adaptive_avg_pool2d(maps, GRID).flatten(1)


class GeM(torch.nn.Module):
    """Generalised-mean pooling with exponent 3: (B, D, H, W) -> (B, D)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
