"""JSON that groups images under their class: {class: [image, ...]}, to any depth (Food-101, DeepFashion).

Grouped.Config(file="meta/train.json", keys=["class"], image="images/{image}.jpg", label="{class}", part="train")
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl

from probe.data.readers.base import AGAIN, READERS, ROW, Reader
from probe.data.readers.template import columns_of, render
from probe.data.readers.text import read_json
from probe.errors import UsageError


@READERS.register
class Grouped(Reader):
    """The images are the column `image`."""

    class Config(Reader.Config):
        kind: Literal["grouped"] = "grouped"
        keys: tuple[str, ...] = ("class",)
        """Names of the levels, outermost first; each is a column."""

    def columns(self, path: Path) -> pl.DataFrame:
        rows = list(self._rows(read_json(path, keys_are_data=True), (), path))
        frame = pl.DataFrame(rows, [(name, pl.String) for name in (*self.config.keys, "image")], orient="row")
        self._refuse_one_label_of_two(frame, path)
        return frame.with_row_index(ROW, 1)

    def _refuse_one_label_of_two(self, frame: pl.DataFrame, path: Path) -> None:
        """`a/b` in `c` would be written as `a` in `b/c` is."""
        keys = columns_of(self.config.label)
        classes = frame.select(keys).unique(maintain_order=True).with_columns(__label=render(self.config.label))
        same = classes.filter(pl.col("__label").is_duplicated())
        if not same.is_empty():
            label = same["__label"][0]
            paths = [list(row[:-1]) for row in same.filter(pl.col("__label") == label).iter_rows()]
            raise UsageError(f"{path}: {paths[0]} and {paths[1]} would both be the class {label!r}; rename a key.")

    def _rows(self, inside: Any, above: tuple[str, ...], path: Path) -> Iterator[tuple[str, ...]]:
        where = "/".join(above) or "the top"
        if len(above) < len(self.config.keys):
            if not isinstance(inside, dict):
                raise UsageError(
                    f"{path}: at {where} is no object keyed by {self.config.keys[len(above)]}; is it the right file?"
                )
            for key, value in inside.items():
                yield from self._rows(value, (*above, key), path)
            return
        if not isinstance(inside, list) or not all(isinstance(image, str) for image in inside):
            raise UsageError(f"{path}: at {where} is no list of image names; {AGAIN}.")
        for image in inside:
            yield (*above, image)
