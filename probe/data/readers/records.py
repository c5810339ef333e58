"""A JSON list of objects, one an image: UnED's info files, the Met's ground truth.

A field holds text, a whole number, or a list of these (a query of several classes).

    Records.Config(file="info_files/gldv2/test.json", image="{path}", label="{class_id}", part="test/query")
"""

from pathlib import Path
from typing import Any, Literal

import polars as pl

from probe.data.labels import LISTS
from probe.data.readers.base import AGAIN, READERS, ROW, Reader
from probe.data.readers.text import read_json
from probe.errors import UsageError, nearest


@READERS.register
class Records(Reader):
    class Config(Reader.Config):
        kind: Literal["records"] = "records"

    def columns(self, path: Path) -> pl.DataFrame:
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise UsageError(f"{path} is not a list of objects; is it the right file?")
        frame = pl.DataFrame({name: self._column(found, name, path) for name in self.config.needed})
        return frame.with_row_index(ROW, 1)

    def _column(self, records: list[dict[str, Any]], name: str, path: Path) -> pl.Series:
        values = [record.get(name) for record in records]
        if name not in self.config.keep:
            for row, value in enumerate(values, 1):
                if value is None:
                    record = records[row - 1]
                    what = f"'{name}' is null;" if name in record else f"no '{name}'; {nearest(name, record)}"
                    raise UsageError(f"{path}, row {row}: {what} {AGAIN}.")
        may_be_lists = self.config.label == f"{{{name}}}" and self.config.keep.get(name, "present") == "present"
        return strings(values, name, path, may_be_lists)


def strings(values: list[Any], name: str, path: Path, may_be_lists: bool = False) -> pl.Series:
    """Text and whole numbers as strings; where any value may be and is a list, lists of strings."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:
        return pl.Series(name, values, dtype=pl.Int64).cast(pl.String)
    if kinds <= {str}:
        return pl.Series(name, values, dtype=pl.String)
    for row, value in enumerate(values, 1):
        inside = value if may_be_lists and isinstance(value, list) and value else [value]
        if not all(type(one) in (str, int) for one in inside) and value is not None:
            raise UsageError(f"{path}, row {row}: '{name}' is {value!r}, not text or a whole number; {AGAIN}.")
    if list not in kinds:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    listed = [value if isinstance(value, list) or value is None else [value] for value in values]
    texts = [None if value is None else [str(one) for one in value] for value in listed]
    return pl.Series(name, texts, dtype=LISTS)
