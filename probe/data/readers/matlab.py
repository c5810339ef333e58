"""Matlab files: a struct array whose fields are the columns (Stanford Cars), or cell arrays of text (INSTRE).

Matlab.Config(file="cars.mat", variable="annotations", image="cars_train/{fname}", label="{class}", part="train")
"""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import polars as pl

from probe.data.readers.base import AGAIN, READERS, ROW, Reader, require
from probe.data.readers.records import strings
from probe.errors import UsageError, first_line, nearest

# In a process of its own, which a damaged file may crash.
LOAD = """
import pickle, sys
from scipy.io import loadmat
found = {name: value for name, value in loadmat(sys.argv[1]).items() if not name.startswith("__")}
pickle.dump(found, sys.stdout.buffer)
"""


@READERS.register
class Matlab(Reader):
    """A cell array of text is the one column `path`."""

    class Config(Reader.Config):
        kind: Literal["matlab"] = "matlab"
        variable: str
        """The name of the array in the file."""

    def columns(self, path: Path) -> pl.DataFrame:
        array = self._array(path)
        if array.dtype.names is None:
            require(self.config.needed, ["path"], path)
            return pl.DataFrame([self._column(array, "path", path)]).with_row_index(ROW, 1)
        require(self.config.needed, list(array.dtype.names), path)
        return pl.DataFrame([self._column(array[name], name, path) for name in self.config.needed]).with_row_index(
            ROW, 1
        )

    def _array(self, path: Path) -> Any:
        try:
            done = subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True, capture_output=True)
            found = pickle.loads(done.stdout)
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode(errors="replace").splitlines()
            reason = lines[-1].rstrip(".") if lines else first_line(error)
            raise UsageError(f"{path} cannot be read as a Matlab file ({reason}); download it again.") from error
        if self.config.variable not in found:
            raise UsageError(f"{path} has no variable '{self.config.variable}'; {nearest(self.config.variable, found)}")
        return found[self.config.variable].reshape(-1)

    def _column(self, cells: Any, name: str, path: Path) -> pl.Series:
        values = []
        for row, cell in enumerate(cells.tolist(), 1):
            if getattr(cell, "size", 1) != 1:
                raise UsageError(f"{path}, row {row}: '{name}' is not one value; {AGAIN}.")
            values.append(cell.item() if hasattr(cell, "item") else cell)
        return strings([int(value) if isinstance(value, bool) else value for value in values], name, path)
