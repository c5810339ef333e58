"""Delimited text: comma, tab, or any white space between the fields; with a header line, or with named columns.

A quoted field may hold a comma; tab-separated files quote nothing. White space around a field is no part of it.

    Delimited.Config(file="Ebay_train.txt", separator="space", image="{path}", label="{class_id}", part="train")
"""

import csv
import re
from pathlib import Path
from typing import Literal

import polars as pl

from feature_cache import polars_engine
from probe.data.csv_file import stripped
from probe.data.readers.base import AGAIN, READERS, ROW, Reader, require
from probe.data.readers.text import text
from probe.errors import UsageError, first_line

QUOTED = re.compile(r'(\s*"([^"]|"")*"\s*|[^",]*)(,(\s*"([^"]|"")*"\s*|[^",]*))*')
CHARACTERS = {"comma": ",", "tab": "\t"}


@READERS.register
class Delimited(Reader):
    class Config(Reader.Config):
        kind: Literal["delimited"] = "delimited"
        separator: Literal["comma", "tab", "space"] = "comma"
        header: tuple[str, ...] | None = None
        """The names of the columns, of a file without a header line."""
        first_line: Literal["count", "skip"] | None = None
        """Of a line above the header and all rows: `count`, their number, which tells a truncated file, or `skip`."""

    def columns(self, path: Path) -> pl.DataFrame:
        frame = self._spaced(path) if self.config.separator == "space" else self._separated(path)
        if not set(self.config.needed) <= set(frame.columns):
            text(path)  # another encoding is what is wrong first
        require(self.config.needed, frame.columns, path)
        return frame.select(pl.col(self.config.needed).str.strip_chars()).with_row_index(ROW, 1)

    @property
    def _above(self) -> int:
        """Lines before the rows."""
        return (self.config.first_line is not None) + (self.config.header is None)

    def _separated(self, path: Path) -> pl.DataFrame:
        separator = CHARACTERS[self.config.separator]
        quote = '"' if self.config.separator == "comma" else None
        try:
            with polars_engine():
                frame = pl.read_csv(
                    path,
                    has_header=self.config.header is None,
                    separator=separator,
                    quote_char=quote,
                    infer_schema=False,
                    glob=False,
                )
        except (OSError, pl.exceptions.PolarsError) as error:
            fault = _fault(text(path), separator, quote) or first_line(error)
            raise UsageError(f"{path} cannot be read as a table ({fault}); {AGAIN}.") from error
        if self.config.header is None:
            try:
                return stripped(frame)
            except ValueError as error:
                raise UsageError(f"{path} cannot be read as a table ({error}); {AGAIN}.") from error
        if len(frame.columns) != len(self.config.header):
            have = f"{len(frame.columns)} columns, not {len(self.config.header)} ({', '.join(self.config.header)})"
            raise UsageError(f"{path} has {have}; is it the right file?")
        return frame.rename(dict(zip(frame.columns, self.config.header, strict=True)))

    def _spaced(self, path: Path) -> pl.DataFrame:
        lines = pl.Series("line", text(path).rstrip().split("\n"), dtype=pl.String).str.strip_chars()
        ahead, lines = lines.head(self._above).to_list(), lines.slice(self._above)
        if lines.is_empty():
            raise UsageError(f"{path} has no rows; {AGAIN}.")
        names = list(self.config.header) if self.config.header else ahead[-1].split()
        if self.config.first_line == "count" and ahead[0] != str(len(lines)):
            raise UsageError(f"{path} has {len(lines):,} rows but its first line says {ahead[0]}; download it again.")
        pattern = r"^" + r"\s+".join([r"(\S+)"] * len(names)) + "$"
        frame = lines.str.extract_groups(pattern).struct.unnest()
        bad = frame.with_row_index(ROW, 1).filter(pl.any_horizontal(pl.all().is_null()))
        if not bad.is_empty():
            fields = f"{len(names)} fields ({', '.join(names)})"
            raise UsageError(f"{path}, row {bad[ROW][0]}: does not have {fields}; {AGAIN}.")
        return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _fault(content: str, separator: str, quote: str | None) -> str | None:
    """The first row that has a quote in the wrong place, or more fields than the line above all rows."""
    for row, line in enumerate(content.splitlines() if quote else ()):
        if not QUOTED.fullmatch(line):
            return f'row {row} has a quote that is inside a field or without end, which has to be written as "a""b"'
    reader = csv.reader(
        content.splitlines(), delimiter=separator, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    )
    width = len(next(reader, []))
    for row, fields in enumerate(reader, 1):
        if len(fields) > width:
            return f"row {row} has {len(fields)} fields, not {width}"
    return None
