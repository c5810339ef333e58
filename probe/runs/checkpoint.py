"""What an unfinished run leaves after each epoch, so that the same bits come out whether or not it was interrupted.

One safetensors file with everything in it, replaced as a whole; the JSON part is its metadata.

    checkpoint = RunCheckpoint(folder, key)       # <out>/runs/.<run>.partial
    checkpoint.write(tensors, state)
    tensors, state = checkpoint.read()         # None where there is nothing
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import xxhash
from pydantic import model_validator
from safetensors import SafetensorError, safe_open

from probe.errors import first_line
from probe.fit import Candidate, EpochRecord, TrainingState
from probe.progress import say
from probe.storage import replacing_file, write_whole
from probe.validation import Strict

if TYPE_CHECKING:
    import torch

FILE = "checkpoint.safetensors"
CANDIDATES = "candidates.json"
UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError)


class Candidates(Strict):
    """What heads have scored while one of them is chosen: candidates.json."""

    key: str
    device: str
    candidates: list[Candidate]
    digest: str
    """Of the rest."""

    @property
    def content_digest(self) -> str:
        return xxhash.xxh3_128_hexdigest(self.model_dump_json(exclude={"digest"}).encode())

    @model_validator(mode="after")
    def _is_what_was_written(self) -> Self:
        if self.digest != self.content_digest:
            raise ValueError("it is not what was written")
        return self


@dataclass(frozen=True)
class RunCheckpoint:
    """`folder`: the unfinished run's own; `key`: what the run is recognised by."""

    folder: Path
    key: str

    def write(self, tensors: "dict[str, torch.Tensor]", state: TrainingState) -> None:
        """Replaces what was there."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(state.model_dump(mode="json"))
        metadata = {"key": self.key, "state": text, "digest": _digest(held, text)}
        with replacing_file(self.folder / FILE) as temporary:
            save_file(held, temporary, metadata)

    @property
    def history(self) -> list[EpochRecord]:
        """A record of each epoch behind it."""
        state = self._state()
        return [] if state is None else state.history

    def drop_unless(self, device: str, window: int | None) -> None:
        """Removes what was made on another kind of device, or with rows shuffled in other windows, and says so."""
        state = self._state()
        if state is not None and (reason := state.conflict(device, window)):
            self.drop(reason)

    def drop(self, reason: str) -> None:
        say(f"{self.folder / FILE} {reason}; this run starts again from its first epoch")
        self.remove()

    def read(self) -> "tuple[dict[str, torch.Tensor], TrainingState] | None":
        """What was written last; None when there is nothing. What cannot be read is said and not used."""
        state = self._state()
        if state is None:
            return None
        try:
            with safe_open(self.folder / FILE, "pt") as file:
                metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["digest"] != _digest(tensors, metadata["state"]):
                raise ValueError("it is not what was written")
            return tensors, state
        except UNREADABLE as error:
            self._say_damaged(error)
            return None

    def candidates(self, device: str) -> list[Candidate]:
        """What heads have scored on this kind of device; none where there is nothing. What cannot be read is said and
        not used."""
        file = self.folder / CANDIDATES
        try:
            kept = Candidates.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            say(f"{file} cannot be read ({first_line(error)}); the choice starts again")
            return []
        return kept.candidates if (kept.key, kept.device) == (self.key, device) else []

    def write_candidates(self, device: str, candidates: Sequence[Candidate]) -> None:
        """Replaces what was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = Candidates.model_construct(key=self.key, device=device, candidates=list(candidates), digest="")
        sealed = kept.model_copy(update={"digest": kept.content_digest})
        write_whole(self.folder / CANDIDATES, sealed.model_dump_json().encode())

    def _state(self) -> TrainingState | None:
        try:
            with safe_open(self.folder / FILE, "pt") as file:
                metadata = file.metadata()
            return TrainingState.model_validate_json(metadata["state"]) if metadata["key"] == self.key else None
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            self._say_damaged(error)
            return None

    def _say_damaged(self, error: Exception) -> None:
        say(f"{self.folder / FILE} cannot be read ({first_line(error)}); this run starts again from its first epoch")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _digest(tensors: "dict[str, torch.Tensor]", state: str) -> str:
    """Of everything that training goes on from."""
    import torch

    found = xxhash.xxh3_128(state.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
