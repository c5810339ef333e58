"""A run's history as TensorBoard events, written as the epochs end; `tensorboard` is an extra of this package.

events = Events(run.checkpoint.folder / TENSORBOARD)      # moves to <run>/tensorboard with the run
events.write(record)                                      # a line of history.jsonl
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from probe.errors import UsageError

TENSORBOARD = "tensorboard"  # the folder's name


def require_tensorboard() -> None:
    """Raises UsageError, saying how to install it."""
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard: the package tensorboard is not installed; run `pip install tensorboard`.")


class Events:
    """One event file; a run that goes on adds another one, which TensorBoard joins by step."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, record: dict[str, Any]) -> None:
        """Loss, learning rate and validation means over the images seen."""
        values = {"loss": record["loss"], "lr": record["lr"]}
        values |= {f"val/{metric}": value for metric, value in record["val"].items()}
        for name, value in values.items():
            self._writer.add_scalar(name, value, record["samples"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
