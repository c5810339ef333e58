"""A run's history as TensorBoard events, written as the epochs end; `tensorboard` is an extra of this package.

events = Events(run.checkpoint.folder / TENSORBOARD)      # moves to <run>/tensorboard with the run
events.write(record)                                      # a line of history.jsonl
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from probe.errors import require_installed
from probe.fit import EpochRecord


def require_tensorboard() -> None:
    """Raises UsageError, saying how to install it."""
    require_installed("tensorboard", "tensorboard", "--tensorboard")


class Events:
    """One event file. A run that goes on starts it anew with the history that it has, whether or not that was written
    as events before."""

    def __init__(self, folder: Path, history: Sequence[EpochRecord] = ()) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        for record in history:
            self.write(record)

    def write(self, record: EpochRecord) -> None:
        """Loss, of each domain and its parts too where there are any, learning rate and validation means over the
        images seen."""
        values = {"loss": record.loss, "lr": record.lr}
        values |= {f"val/{metric}": value for metric, value in record.val.items()}
        values |= {f"part/{name}": value for name, value in record.parts.items()}
        values |= {f"loss/{name}": line.loss for name, line in record.domains.items() if line.steps}
        for name, value in values.items():
            self._writer.add_scalar(name, value, record.samples)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
