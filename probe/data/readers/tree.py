"""Images whose class is in their path: a folder for each class, or a pattern of file names (GPR1200, INSTRE, ILIAS).

The one column is `path`, below `file`; `match` takes it apart. Every image there has to match. Files
whose names unzip has escaped (`#U98df`) are known by their proper names.

    Tree.Config(file="images", match={"path": r"images/(?P<class>\\d+)_"}, image="{path}", label="{class}", part="test")
"""

from pathlib import Path
from typing import ClassVar, Literal

import polars as pl

from probe.data.escape import unescaped
from probe.data.folder import image_files
from probe.data.readers.base import READERS, ROW, Reader
from probe.errors import UsageError


@READERS.register
class Tree(Reader):
    class Config(Reader.Config):
        is_folder: ClassVar[bool] = True

        kind: Literal["tree"] = "tree"

    def columns(self, path: Path) -> pl.DataFrame:
        files = sorted(unescaped(file) for file in image_files(path))
        if not files:
            raise UsageError(f"{path} holds no images; extract the data set there.")
        return pl.DataFrame({"path": files}).with_row_index(ROW, 1)
