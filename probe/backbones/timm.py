"""The timm adapter: any timm model as a frozen backbone, with pooled features before its classifier.

Weights come from a file, always: the one given, or the hub's, taken from the local cache or fetched; so their digest is
known before they are loaded. Every key must match.

    encoder = TimmEncoder(row, weights, device)
    encoder(pixels)       # (B, px, px, 3) uint8 -> (B, D) float32
"""

import os
import pickle
from pathlib import Path

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from probe.backbones.preprocessing import Prepare, Preprocessing
from probe.backbones.row import BackboneRow
from probe.errors import ProbeError, UsageError, nearest

WEIGHTS_NAME = "model.safetensors"


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
    )


def hub_weights(name: str) -> Path:
    """The hub's weights file of a timm model, from the local cache or the network.

    Raises ProbeError, saying which file to fetch elsewhere, when it is in neither.
    """
    repository = _configuration(name).hf_hub_id
    if not repository:
        raise UsageError(f"timm:{name} has no pretrained weights on the hub; give a file with --weights.")
    try:
        return Path(hf_hub_download(repository, WEIGHTS_NAME, etag_timeout=5))
    except (LocalEntryNotFoundError, EntryNotFoundError, HfHubHTTPError, OSError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise UsageError(
            f"the weights of timm:{name} are not in the local Hugging Face cache and the hub is out of reach{offline}; "
            f"fetch {WEIGHTS_NAME} of the repository {repository} elsewhere and name it with --weights FILE."
        ) from error


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


class TimmEncoder:
    """A frozen timm model in eval mode on a device. `dim` is the length of its feature."""

    def __init__(self, row: BackboneRow, weights: Path, device: torch.device) -> None:
        try:
            self.model = timm.create_model(row.model, pretrained=False, num_classes=0, **row.options)
        except (RuntimeError, TypeError) as error:
            raise UsageError(f"timm cannot make {row.model} with options {row.options}: {error}.") from error
        _load(self.model, weights)
        self.model.eval().requires_grad_(False).to(device)
        self.device = device
        self.mean = torch.tensor(row.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(row.std, device=device).view(3, 1, 1)
        self.prepare: Prepare = Preprocessing(row)
        self.dim = self(torch.zeros(1, row.px, row.px, 3, dtype=torch.uint8)).shape[1]

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, px, px, 3) uint8 -> (B, D) float32 on the CPU."""
        images = pixels.to(self.device).permute(0, 3, 1, 2).float().div(255)
        return self.model(images.sub(self.mean).div(self.std)).float().cpu()


def _load(model: torch.nn.Module, weights: Path) -> None:
    """Loads the weights; a classifier that they bring is left out, everything else must match."""
    state = _state_dict(weights)
    classifier = model.pretrained_cfg.get("classifier")  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    expected = model.state_dict()
    problems = [f"lacks {key}" for key in expected if key not in state]
    problems += [f"has an unknown {key}" for key in state if key not in expected]
    problems += [
        f"has {key} of shape {tuple(value.shape)}, not {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if problems:
        raise UsageError(
            f"{weights} does not fit the model: it {'; it '.join(problems[:5])} ({len(problems)} differences); "
            "check the model's name and options."
        )
    model.load_state_dict(state)


def _state_dict(weights: Path) -> dict[str, torch.Tensor]:
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, EOFError, SafetensorError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProbeError(f"{weights} cannot be read as weights: {reason}.") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UsageError(f"{weights} holds no state dict (names and tensors) at its top level; save one from it.")
    return state
