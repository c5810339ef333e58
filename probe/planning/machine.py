"""Machines, by the rates that they sustain: what the times of a plan are of.

Of two CPU cores the rates are measured; of accelerators they are estimates: two fifths of the peak that the maker
states for dense products in half precision, and of the class matrix the bandwidth of the memory. Reading and decoding
of images is taken to keep up.

    find_machine("h100").operations      # 4.0e14 a second
    this_machine().name                  # "2 CPU cores", or the GPU's
"""

import re
from dataclasses import dataclass, replace

from probe.device import choose_device, gpu_name
from probe.errors import UsageError, nearest
from probe.precision import Precision, choose_precision

SUSTAINED = 0.4  # of the peak
BYTES_A_CENTER = 11 * 4 * 64  # forward, backward and Adam read or write 64 float32 values so often


@dataclass(frozen=True)
class Machine:
    """One device of it."""

    name: str
    """After `at the speed of`."""
    device: str
    """As in runs and speeds: cpu or cuda."""
    precision: Precision
    """Of extraction."""
    operations: float
    """Of a forward pass, a second; a multiply-add is two."""
    seconds_a_step: float
    """Whatever the data."""
    seconds_a_center: float
    """Of a step, for each class centre, with 128 images in 64 dimensions."""
    seconds_a_run: float
    """Whatever the data."""
    is_measured: bool = False
    """Whether these rates are."""
    is_here: bool = False

    @property
    def speed(self) -> str:
        """The basis of an estimate by its rates."""
        return f"at the {'' if self.is_measured else 'estimated '}speed of {self.name}"

    def did(self, device: str, gpu: str) -> bool:
        """Whether it is the machine of finished work. `gpu`: empty for a CPU, whose work elsewhere tells nothing, and
        for work of earlier versions of probe."""
        if self.is_here:
            return device == self.device and gpu in ("", self.name)
        return device == self.device and _machine_of(gpu) == self


def _cpu(cores: int) -> Machine:
    """By the rates of two: docs/losses.md, and products at a quarter of their peak, for cores that have other work."""
    name = f"{cores} CPU core{'s' if cores > 1 else ''}"
    return Machine(name, "cpu", Precision.fp32, 2.5e10 * cores, 1e-3, 1e-6 / cores, 1.0, is_measured=cores == 2)


def _gpu(name: str, peak: float, bandwidth: float, precision: Precision = Precision.bf16) -> Machine:
    """`peak`: operations a second; `bandwidth`: bytes a second."""
    return Machine(name, "cuda", precision, SUSTAINED * peak, 4e-4, BYTES_A_CENTER / bandwidth, 5.0)


MACHINES = {
    "cpu": _cpu(2),
    "t4": _gpu("a T4", 65e12, 320e9, Precision.fp16),
    "v100": _gpu("a V100", 125e12, 900e9, Precision.fp16),
    "l4": _gpu("an L4", 121e12, 300e9),
    "a10": _gpu("an A10", 125e12, 600e9),
    "rtx3090": _gpu("an RTX 3090", 71e12, 936e9),
    "rtx4090": _gpu("an RTX 4090", 165e12, 1008e9),
    "l40s": _gpu("an L40S", 362e12, 864e9),
    "a100": _gpu("an A100", 312e12, 2039e9),
    "h100": _gpu("an H100", 989e12, 3350e9),
    "h200": _gpu("an H200", 989e12, 4800e9),
    "b200": _gpu("a B200", 2250e12, 8000e9),
}
"""By the names that `--plan` takes; peaks and bandwidths are the makers' data sheets'."""


def find_machine(name: str) -> Machine:
    """One of MACHINES, as a machine elsewhere. Raises UsageError with the nearest name."""
    found = MACHINES.get(name.lower())
    if found is None:
        raise UsageError(f"no machine '{name}' is known; {nearest(name.lower(), MACHINES)}")
    return found


def this_machine() -> Machine:
    """The device that `--device auto` takes here. A GPU that is not in MACHINES is taken to be as slow as a T4."""
    import torch

    device, _ = choose_device("auto")
    gpu = gpu_name(device.type)
    found = replace(_machine_of(gpu) or MACHINES["t4"], name=gpu) if gpu else _cpu(torch.get_num_threads())
    return replace(found, precision=choose_precision("auto", device)[0], is_here=True)


def _machine_of(gpu: str) -> Machine | None:
    """By the name that PyTorch has for a GPU: `NVIDIA H100 80GB HBM3`."""
    words = gpu.lower().replace("rtx ", "rtx")
    return next((machine for key, machine in MACHINES.items() if re.search(rf"\b{key}(?!\d)", words)), None)
