"""CSV as people save it: by commas, semicolons or tabs, with pandas' index, with blanks in the header.

Every field is text, as it stands. What it may be that cannot be read is said: a workbook, UTF-16, a line with a quote.

    read_csv(Path("manifest.csv"))      # a frame of strings
"""

import csv
import re
from pathlib import Path

import polars as pl

from feature_cache import polars_engine
from probe.errors import first_line

HEAD_BYTES = 1 << 16
WORKBOOK = b"PK\x03\x04"  # as every zip archive begins
TWICE = re.compile(r"(.*)_duplicated_\d+")  # what Polars calls the second column of a name


def read_csv(path: Path) -> pl.DataFrame:
    """Columns by their header. Raises ValueError, with line or row, for what is not such a file."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ValueError(first_line(error)) from error
    end = "\r" if b"\r" in head and b"\n" not in head else "\n"
    header = head.split(end.encode())[0]
    if head.startswith(WORKBOOK):
        raise ValueError("it is a workbook, such as Excel's; save its sheet as CSV")
    if b"\0" in header[:1024]:  # every other byte of ASCII names
        raise ValueError("it holds UTF-16 or UTF-32 text; save the file as UTF-8")
    separator = next((each for each in ",;\t" if each.encode() in header), ",")
    try:
        with polars_engine():
            frame = pl.read_csv(path, infer_schema=False, glob=False, separator=separator, eol_char=end)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(_fault(path, separator) or first_line(error)) from error
    frame = stripped(frame)
    twice = next((found[1] for name in frame.columns if (found := TWICE.fullmatch(name))), None)
    if twice is not None:
        raise ValueError(f"it has the column '{twice}' twice")
    return _without_blank_end(_without_index(frame))


def stripped(frame: pl.DataFrame) -> pl.DataFrame:
    """Names without blanks around them. Raises ValueError where two are equal then."""
    names = [name.strip() for name in frame.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"it has the column '{twice[0]}' twice")
    return frame.rename(str.strip)


def _without_index(frame: pl.DataFrame) -> pl.DataFrame:
    """Without the row numbers that pandas writes before the first column, under no name."""
    first = frame.columns[0] if frame.columns else None
    if first == "" and frame[first].to_list() == [str(row) for row in range(len(frame))]:
        return frame.drop(first)
    if "" in frame.columns:
        raise ValueError("it has a column without a name; name it, or take it out")
    return frame


def _without_blank_end(frame: pl.DataFrame) -> pl.DataFrame:
    filled = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    return frame.head(len(frame) - (filled.reverse().arg_max() or 0)) if filled.any() else frame.clear()


def _fault(path: Path, separator: str) -> str | None:
    """The first thing that is wrong in a CSV file, and where."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number} is invalid utf-8 (byte 0x{line[error.start]:02x}); save the file as UTF-8"
    with path.open(encoding="utf-8-sig", newline="") as file:
        quoted = re.compile(rf'(?:^|(?<={separator}))"(?:[^"]|"")*"(?=[{separator}\r\n]|$)')
        lines: list[str] = []  # of the record at hand
        reader = csv.reader((lines.append(line) or line for line in file), delimiter=separator, strict=True)
        try:
            header = next(reader, [])
            lines.clear()
            for number, row in enumerate(reader, 1):
                if '"' in quoted.sub("", "".join(lines)):
                    return f"line {reader.line_num} has a quote in a bare field; put the field in quotes and double it"
                if len(row) > len(header):
                    return f"row {number} has more fields ({len(row)}) than the header ({len(header)})"
                lines.clear()
        except csv.Error as error:
            return f"line {reader.line_num} is malformed ({error})"
    return None
