"""A checkpoint file into a module: every key and shape must match, and a report says what did not.

Tensors are all that is read: safetensors, PyTorch's format with `weights_only=True`, or a TorchScript archive that is
not run, so nothing that a file brings along is ever executed.

    fit(module, read_state(Path("model.pth")), Path("model.pth"))
"""

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from feature_cache import require_regular
from probe.backbones.torchscript import is_torchscript, read_torchscript
from probe.errors import ProbeError, UsageError, first_line

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
SHOWN = 5


def read_state(weights: Path, prefix: str | None = None) -> State:
    """Names and tensors of a checkpoint; below `prefix` only, and without it, where one is given.

    A wrapper around the state dict and the `module.` of parallel training are taken off. Raises ProbeError for a file
    that cannot be read, UsageError for one without a state dict or without the prefix.
    """
    state = _unwrapped(_content(weights))
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UsageError(
            f"{weights} holds no state dict (names and tensors), at its top level or under "
            f"{', '.join(WRAPPERS)}; save one from it."
        )
    if state and all(key.startswith("module.") for key in state):
        state = below(state, "module.")
    if prefix is None:
        return state
    chosen = below(state, prefix)
    if not chosen:
        raise UsageError(f"{weights} has no key that begins with '{prefix}'; the first are {_listed(state)}.")
    return chosen


def below(state: State, prefix: str) -> State:
    """The part of a state whose keys begin with the prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def fit(module: torch.nn.Module, state: State, weights: Path) -> None:
    """Loads the state into the module. Raises UsageError, with counts and the first five keys, unless all match."""
    expected = module.state_dict()
    # Old checkpoints lack the step counts of batch normalisation, which only training reads.
    missing = [key for key in expected if key not in state and not key.endswith(".num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} is {tuple(value.shape)}, not {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    kinds = [
        f"{key} is {value.dtype}, not {expected[key].dtype}"
        for key, value in state.items()
        if key in expected and value.is_floating_point() != expected[key].is_floating_point()
    ]
    if kinds:
        raise UsageError(
            f"{weights} holds quantised weights, or another kind of numbers ({_listed(kinds)}); save them as "
            "floating-point numbers first."
        )
    report_differences(weights, missing, unexpected, shapes)
    module.load_state_dict(state, strict=False)


def report_differences(weights: Path, missing: Sequence[str], unexpected: Sequence[str], shapes: Sequence[str]) -> None:
    """Raises UsageError when any of the three has an entry."""
    named = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    report = [f"{len(keys):,} {what} ({_listed(keys)})" for what, keys in named.items() if keys]
    if report:
        raise UsageError(
            f"{weights} does not fit the model: {'; '.join(report)}; check the model's name, its options, and whose "
            "weights these are."
        )


def _listed(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")


def _content(weights: Path) -> object:
    require_regular(weights)
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        if is_torchscript(weights):
            return read_torchscript(weights)
        return torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, EOFError, SafetensorError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ProbeError(f"{weights} cannot be read as weights: {first_line(error)}.") from error


def _unwrapped(content: object) -> object:
    for _ in WRAPPERS:
        inner = [content[key] for key in WRAPPERS if isinstance(content, dict) and isinstance(content.get(key), dict)]
        if not inner:
            break
        content = inner[0]
    return content
