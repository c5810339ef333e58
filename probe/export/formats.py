"""What an exported folder may hold besides its own files, as people ask for it.

Formats({Format.onnx}, preprocessing=True)
"""

import os
import shutil
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from probe.errors import UsageError, require_installed

COMPILERS = (os.environ.get("CXX", "g++"), "clang++")


class Format(StrEnum):
    """What `--format` takes."""

    onnx = "onnx"
    pt2 = "pt2"
    aoti = "aoti"
    torchscript = "torchscript"

    @property
    def file(self) -> str:
        """Its name in the folder; the head alone lies in HEAD_FILE."""
        return FILES[self]


FILES = {
    Format.onnx: "model.onnx",
    Format.pt2: "model.pt2",
    Format.aoti: "model.aoti.pt2",
    Format.torchscript: "model.torchscript.pt",
}
HEAD_FILE = "head.onnx"


class Part(StrEnum):
    """What `--part` takes."""

    all = "all"
    head = "head"


@dataclass(frozen=True)
class Formats:
    """Other formats of the same computation."""

    kinds: Set[Format] = frozenset()
    part: Part = Part.all
    """Of ONNX: backbone and head, or the head alone, features in."""
    preprocessing: bool = False
    """Whether resizing and normalising are inside, in ONNX, `.pt2` and AOTInductor; they always are in TorchScript."""
    int8: bool = False
    """Whether there is a quantised ONNX beside the one in float32."""

    def require(self) -> None:
        """Raises UsageError for options without the format that they are of, and for what is not installed."""
        whole = self.kinds - ({Format.onnx} if self.part is Part.head else set())
        if Format.onnx in self.kinds:
            for package in ("onnxscript", "onnxruntime"):
                require_installed(package, "export", "--format onnx")
        elif self.int8 or self.part is Part.head:
            raise UsageError("--quantize and --part are of ONNX; add --format onnx.")
        if self.int8 and self.part is Part.head:
            raise UsageError("--quantize int8 is of the backbone; leave out --part head.")
        if self.preprocessing and not whole & {Format.onnx, Format.pt2, Format.aoti}:
            raise UsageError(
                "--preprocessing is of the whole of ONNX, .pt2 and AOTInductor's package (TorchScript always has it "
                "inside); add --format onnx, pt2 or aoti."
            )
        if Format.aoti in self.kinds and not any(map(shutil.which, COMPILERS)):
            raise UsageError(f"--format aoti needs a C++ compiler, {' or '.join(COMPILERS)}; install one.")
