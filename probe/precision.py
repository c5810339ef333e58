"""Which number format the forward pass uses, and why.

choose_precision("auto", torch.device("cpu"))     # ("bf16", "the CPU multiplies bfloat16 by itself (avx512_bf16)")
"""

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import UsageError, nearest

if TYPE_CHECKING:
    import torch


class Precision(StrEnum):
    """What a backbone can run in."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"

    @property
    def dtype_name(self) -> str:
        """PyTorch's name of it, which is the one that feature stores keep."""
        return {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[self]

    @classmethod
    def of_dtype(cls, name: Any) -> "Precision | None":
        """That of PyTorch's name; None for another."""
        return next((precision for precision in cls if precision.dtype_name == name), None)


class PrecisionChoice(StrEnum):
    """What `--precision` takes."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def choose_precision(choice: str, device: "torch.device") -> tuple[Precision, str]:
    """The precision and the reason for it, to be printed: half precision only where the device has hardware for it.

    Raises UsageError for another choice than those of PrecisionChoice.
    """
    import torch

    if choice not in set(PrecisionChoice):
        raise UsageError(f"there is no precision '{choice}'; {nearest(choice, PrecisionChoice)}")
    if choice != "auto":
        return Precision(choice), "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision.bf16, "the GPU multiplies bfloat16 by itself"
        return Precision.fp16, "the GPU has no bfloat16"
    unit = _bf16_unit()
    if unit:
        return Precision.bf16, f"the CPU multiplies bfloat16 by itself ({unit})"
    return Precision.fp32, "the CPU has no bfloat16"


@cache
def _bf16_unit() -> str | None:
    """The CPU's flag that says so; emulated half precision would be slower than fp32."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return None
    return next((flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags), None)
