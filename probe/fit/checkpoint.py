"""What an unfinished run leaves after each epoch, so that the same bits come out whether or not it was interrupted.

Where that is kept is not this package's business: `probe.runs` has a RunCheckpoint, on the disk.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from probe.fit.candidates import Candidate
from probe.fit.data import shuffling
from probe.fit.history import EpochRecord
from probe.metrics import Scores
from probe.validation import Strict

Tensors = dict[str, torch.Tensor]


class TrainingState(Strict):
    """A trainer after an epoch, but for its tensors; JSON."""

    history: list[EpochRecord]

    start: Scores
    """The validation before the first epoch."""

    last: Scores
    """The validation of the last epoch."""

    selected_epoch: int
    selected_value: float
    selected_val: Scores
    """The validation of the selected epoch."""

    device: str
    """The kind of device."""

    window: int | None
    """Training rows that are shuffled together, None for all."""

    sampler: dict[str, Any]

    first_loss: float | None
    """By which divergence is told."""

    seconds: float

    epoch_seconds: list[float]
    """Of each epoch's steps."""

    def conflict(self, device: str, window: int | None) -> str | None:
        """Why a run cannot go on from here with the same bits, None where it can."""
        if self.device != device:
            return f"was made on {self.device}, and this is {device}"
        if self.window != window:
            return f"was made with {shuffling(self.window)}, and there is memory for {shuffling(window)}"
        return None


class Checkpoint(Protocol):
    """Where one run's state is kept while it is unfinished."""

    def write(self, tensors: Tensors, state: TrainingState) -> None:
        """Replaces what was there."""

    def read(self) -> tuple[Tensors, TrainingState] | None:
        """What was written last; None where there is nothing, or nothing that can be read."""

    def candidates(self, device: str) -> Sequence[Candidate]:
        """What heads have scored, of which one is to be chosen, on this kind of device; none where there is nothing."""
        ...

    def write_candidates(self, device: str, candidates: Sequence[Candidate]) -> None:
        """Replaces what they had scored."""

    def drop(self, reason: str) -> None:
        """Removes what was written, and says why: the run starts again."""
