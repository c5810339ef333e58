"""What an unfinished run leaves after each epoch, so that the same bits come out whether or not it was interrupted.

One safetensors file with everything in it, replaced as a whole; the JSON part is its metadata.

    checkpoint = Checkpoint(folder, key)       # <out>/runs/.<run>.partial
    checkpoint.write(tensors, state)
    tensors, state = checkpoint.read() or ({}, {})
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import first_line
from probe.progress import say
from probe.storage import replacing_file

if TYPE_CHECKING:
    import torch

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """`folder`: the unfinished run's own; `key`: what the run is recognised by."""

    folder: Path
    key: str

    def write(self, tensors: "dict[str, torch.Tensor]", state: dict[str, Any]) -> None:
        """Replaces what was there; `state` is JSON."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with replacing_file(self.folder / FILE) as temporary:
            save_file(held, temporary, {"key": self.key, "state": json.dumps(state)})

    @property
    def history(self) -> list[dict[str, Any]]:
        """A record of each epoch behind it."""
        found = self._state()
        return [] if found is None else found["history"]

    def drop_unless(self, device: str, window: int | None) -> None:
        """Removes what was made on another kind of device, or with rows shuffled in other windows, and says so: the
        run cannot go on there with the same bits."""
        state = self._state()
        if state is None:
            return
        if state["device"] != device:
            why = f"was made on {state['device']}, and this is {device}"
        elif state["window"] != window:
            why = f"was made with {shuffling(state['window'])}, and there is memory for {shuffling(window)}"
        else:
            return
        say(f"{self.folder / FILE} {why}; this run starts again from its first epoch")
        self.remove()

    def read(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]] | None":
        """What was written last; None when there is nothing. What cannot be read is said and not used."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        state = self._state()
        try:
            return None if state is None else (load_file(self.folder / FILE), state)
        except (OSError, SafetensorError) as error:
            self._say_damaged(error)
            return None

    def _state(self) -> dict[str, Any] | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / FILE, "pt") as file:
                metadata = file.metadata()
            return json.loads(metadata["state"]) if metadata["key"] == self.key else None
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            self._say_damaged(error)
            return None

    def _say_damaged(self, error: Exception) -> None:
        say(f"{self.folder / FILE} cannot be read ({first_line(error)}); this run starts again from its first epoch")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def shuffling(window: int | None) -> str:
    """How training rows are shuffled, in words."""
    return "all rows shuffled together" if window is None else f"rows shuffled in windows of {window:,}"
