"""A checkpoint file into a module: every key and shape must match, and a report says what did not.

Tensors are all that is read, by what the file is and not by its name: safetensors, PyTorch's format with
`weights_only=True`, or a TorchScript archive that is not run, so nothing that a file brings along is ever executed.

    fit(module, read_state(Path("model.pth")), Path("model.pth"))
"""

import argparse
import pathlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from safetensors.torch import load_file

from feature_cache import require_regular
from probe.backbones.torchscript import is_torchscript, read_torchscript
from probe.backbones.weights import require_weights
from probe.errors import ProbeError, UsageError, first_line
from probe.progress import say

State = dict[str, torch.Tensor]

STATES = (
    *("state_dict_ema", "model_ema", "ema_model", "ema_state_dict", "ema", "params_ema", "teacher"),
    *("state_dict", "model_state_dict", "model_state", "model", "module", "network", "net", "params"),
)
"""What a checkpoint calls its weights, the averaged ones first, as timm takes them."""
WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")
"""What parallel training, compilation and trainers put in front of every name."""
HARMLESS: list[Any] = [
    *(argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath, np.ndarray, np.dtype),
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "uint8", "float16", "float32", "float64")),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    (np.empty(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    (np.empty(0).__reduce__()[0], "numpy._core.multiarray._reconstruct"),
]
"""What else than tensors PyTorch may make while it reads: none of these runs what the file says."""
SHOWN = 5


def read_state(weights: Path, prefix: str | None = None) -> State:
    """Names and tensors of a checkpoint; below `prefix` only, and without it, where one is given.

    What is around the state dict (STATES) and in front of all its names (WRAPPERS) is taken off; where there are
    several states, one line says which is taken. Raises ProbeError for a file that cannot be read, UsageError for one
    without a state dict or without the prefix.
    """
    state = _state_of(_content(weights), weights)
    while wrapper := next((each for each in WRAPPERS if state and all(key.startswith(each) for key in state)), None):
        if prefix is not None and below(state, prefix):
            break
        state = below(state, wrapper)
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
        prefixes = _prefixes(missing, unexpected)
        remedy = (
            f"all that is missing lies below {' and below '.join(prefixes)}, which a catalogue row can name as `prefix`"
            if prefixes
            else "check the model's name, its options, and whose weights these are"
        )
        raise UsageError(f"{weights} does not fit the model: {'; '.join(report)}; {remedy}.")


def _prefixes(missing: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    """Those in front of all missing keys among the unexpected ones."""
    given = set(unexpected)
    found = [key.removesuffix(missing[0]) for key in unexpected if missing and key.endswith(f".{missing[0]}")]
    return [f"'{prefix}'" for prefix in found if all(f"{prefix}{key}" in given for key in missing)]


def _listed(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:SHOWN]) + (", …" if len(keys) > SHOWN else "")


def _content(weights: Path) -> object:
    require_regular(weights)
    try:
        head = require_weights(weights)
        if head[8:9] == b"{" or weights.suffix == ".safetensors":  # after eight bytes for the length of the names
            return load_file(weights)
        if is_torchscript(weights):
            return read_torchscript(weights)
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(weights, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ProbeError(f"{weights} cannot be read as weights: {_obstacle(weights)}.") from error
    except (MemoryError, ProbeError):
        raise
    except Exception as error:  # an unpickler raises anything on damaged bytes
        raise ProbeError(f"{weights} cannot be read as weights: {first_line(error)}.") from error


def _obstacle(weights: Path) -> str:
    """Why PyTorch read no tensors from a file."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            code = torch.serialization.get_unsafe_globals_in_checkpoint(weights)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError):
        code = []
    if not code:
        return "it is no checkpoint of PyTorch's, or a damaged one; get it again, or save it as safetensors"
    return (
        f"it needs code to be run ({_listed(code)}), which is never done; where you trust it, load it with what wrote "
        "it, and save its state_dict() alone"
    )


DEEPEST = 10  # states within states; one that holds itself has no end


def _state_of(content: object, weights: Path) -> State:
    """The names and tensors in it, at the top or below names of STATES."""
    path = []
    while isinstance(content, Mapping) and not _is_state(content) and len(path) < DEEPEST:
        states = [key for key in STATES if isinstance(content.get(key), Mapping) and content[key]]
        if not states:
            break
        others = [str(key) for key, value in content.items() if key != states[0] and _is_state(value) and value]
        path.append(states[0])
        if others:
            say(f"{weights}: the weights are those of {'.'.join(path)}, not of {', '.join(others)}")
        content = content[states[0]]
    if _is_state(content):
        return dict(content)
    held = content.items() if isinstance(content, Mapping) else ()
    has = _listed(f"{key} ({type(value).__name__})" for key, value in held) or type(content).__name__
    raise UsageError(
        f"{weights} holds no state dict (names and tensors), at its top level or under {', '.join(STATES)}; it has "
        f"{has}: save one from it."
    )


def _is_state(content: object) -> TypeGuard[Mapping[str, torch.Tensor]]:
    return isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    )
