"""Which device does the work, and why.

choose_device("auto")     # (device("cpu"), "no CUDA device is visible; 2 threads")
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from probe.errors import UsageError

if TYPE_CHECKING:
    import torch


class DeviceChoice(StrEnum):
    """What `--device` takes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def gpu_name(device: str) -> str:
    """Of the GPU here, for the kind of device `cuda`; empty for a CPU."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else ""


def choose_device(choice: str) -> "tuple[torch.device, str]":
    """The device and the reason for it, to be printed. Raises UsageError for another device, and when CUDA is
    asked for and absent."""
    import torch

    if choice not in list(DeviceChoice):
        raise UsageError(f"'{choice}' is no device that probe runs on; use {', '.join(DeviceChoice)}.")
    if choice != "cpu" and torch.cuda.is_available():
        return torch.device("cuda"), torch.cuda.get_device_name()
    if choice == "cuda":
        raise UsageError("--device cuda: no CUDA device is visible to PyTorch; use --device cpu.")
    reason = "asked for" if choice == "cpu" else "no CUDA device is visible"
    return torch.device("cpu"), f"{reason}; {torch.get_num_threads()} threads"
