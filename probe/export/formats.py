"""What an exported folder may hold besides its own files, as people ask for it.

Formats({Format.onnx}, preprocessing=True)
"""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum


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
