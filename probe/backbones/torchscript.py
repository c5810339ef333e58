"""The tensors of a TorchScript archive, OpenAI's format for CLIP, without running it.

`torch.jit.load` runs what an archive brings along, and TorchScript can write files. Here nothing is run: its modules
are read as plain attributes, by an unpickler that knows modules, tensors and lists, and no other name.

    read_torchscript(Path("ViT-B-16.pt"))["visual.conv1.weight"]      # (768, 3, 16, 16), float16
"""

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch

from probe.errors import ProbeError, first_line

DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
LISTS = ("build_boollist", "build_doublelist", "build_intlist", "build_tensorlist", "restore_type_tag")


def is_torchscript(weights: Path) -> bool:
    """Whether a file is an archive that `torch.jit.save` wrote; other checkpoints have no constants of code."""
    try:
        if not is_zipfile(weights):
            return False
        with ZipFile(weights) as archive:
            return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())
    except (BadZipFile, NotImplementedError) as error:
        raise ProbeError(f"{weights} is a damaged archive ({first_line(error)}); fetch it again.") from error


def read_torchscript(weights: Path) -> dict[str, torch.Tensor]:
    """Its parameters and buffers by name, as in its `state_dict()`; tensors that a module holds beside them, too.

    Raises ProbeError for an archive that is damaged, or holds anything but modules, tensors, lists and numbers.
    """
    try:
        with ZipFile(weights) as archive:
            parts = [entry for entry in archive.infolist() if entry.filename.partition("/")[2].startswith("data")]
            if sum(entry.file_size for entry in parts) > weights.stat().st_size:
                raise BadZipFile("its parts are larger than the file")
            return dict(_tensors(_Reader(archive).load()))
    except Exception as error:  # an unpickler raises anything on hostile bytes
        raise ProbeError(
            f"{weights} is a TorchScript archive that cannot be read without running it: {first_line(error)}; where "
            "you trust it, save its weights with torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')."
        ) from error


class _Module:
    """The attributes of one module of the archive."""


class _Reader(pickle.Unpickler):
    """Knows a few names, none of which does more than to make a tensor or to hand back what it was given."""

    def __init__(self, archive: ZipFile) -> None:
        [pickled] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        super().__init__(BytesIO(archive.read(pickled)))
        self.archive, self.folder = archive, pickled.removesuffix("/data.pkl")
        self.storages: dict[str, bytearray] = {}
        self.known = {("torch", name): dtype for name, dtype in DTYPES.items()}
        self.known |= {("torch.jit._pickle", name): _first for name in LISTS}
        self.known |= {("torch._utils", "_rebuild_tensor_v2"): _tensor, ("collections", "OrderedDict"): OrderedDict}

    def find_class(self, module: str, name: str, /) -> Any:
        if module.partition(".")[0] == "__torch__":
            return type(name, (_Module,), {})
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return self.known[module, name]

    def persistent_load(self, pid: Any, /) -> torch.Tensor:
        """`("storage", type, key, device, count)` -> all numbers of the storage, (count,)."""
        _, dtype, key, _, _ = pid
        if key not in self.storages:
            self.storages[key] = bytearray(self.archive.read(f"{self.folder}/data/{key}"))
        return torch.frombuffer(self.storages[key], dtype=dtype) if self.storages[key] else torch.empty(0, dtype=dtype)


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor(storage: torch.Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
