"""The values that a paper prints, from a CSV in recipes/reference/.

The file has one line a value, with the columns `paper,table,group,row,column,metric,value,std`; or one line a row, in
which each column of VALUE_COLUMNS is a metric, and a column of the table by the same name. Scores become percent:
UniFEx prints fractions, and so do files with one line a row. The metric `mMP@5 (GUIEC private split, %)` is mMP@5 in
the column GUIEC private split. 431M is 431,000,000, and stays `431M` in a table.

    read_printed_values(Path("recipes/reference/uned_table4.csv")).rows["IN+Oracle"]["Mean"]["mMP@5"]
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from probe.errors import UsageError
from probe.metrics import MEAN
from probe.recipes.display import TEXTS, is_score

COLUMNS = ["paper", "table", "group", "row", "column", "metric", "value", "std"]
METRIC_NAMES = {"# total params": "total parameters", "# train params": "trainable parameters"}
METRIC_IN_COLUMN = re.compile(r"(?P<metric>\S+) \((?P<column>.+), %\)")
UNITS = {"k": 1_000, "M": 1_000_000}
NAME_COLUMNS = ("dataset", "split", "setting")  # of a file with one line a row; together they name the row
VALUE_COLUMNS = {
    "n_domains": "domains",
    "n_classes": "classes",
    "n_images": "images",
    "train_images": "images",
    "train_classes": "classes",
    "query_images": "query images",
    "query_classes": "query classes",
    "index_images": "index images",
    "index_classes": "index classes",
    "query_is_index": "index = queries",
    "unseen_classes": "unseen classes",
    "n_uses_guiec": "uses",
    "mAP": "mAP",
    "value": "setting",
}


class PrintedValue(NamedTuple):
    """One value of a paper's table; `format_value(metric, printed.display)` formats it."""

    value: float
    """A score in percent, or a count; NaN for a text."""
    std: float | None
    """Standard deviation, where the paper prints one."""
    text: str | None = None
    """As it is printed, where that is shorter than the number (431M), or not a number."""

    @property
    def display(self) -> float | str:
        return self.value if self.text is None else self.text


@dataclass(frozen=True)
class PrintedValues:
    """All values of one file."""

    path: Path
    rows: dict[str, dict[str, dict[str, PrintedValue]]]
    """By row, column and metric. The column of the balanced mean is `Mean`. Where several groups of the table have a
    row of one name, each is called `GROUP / ROW`."""
    groups: dict[str, str]
    """By row, the part of the printed table that it stands in, such as `Specialists`; empty where it has no parts."""

    @property
    def domains(self) -> list[str]:
        """The columns except the mean, in printed order."""
        columns = (column for row in self.rows.values() for column in row)
        return [column for column in dict.fromkeys(columns) if column != MEAN]


class _Line(NamedTuple):
    group: str
    row: str
    column: str
    metric: str
    printed: PrintedValue


def read_printed_values(path: Path) -> PrintedValues:
    """Raises UsageError, naming file and line, for another layout and for a value that is there twice."""
    found: dict[tuple[str, str], dict[str, dict[str, PrintedValue]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for line in _lines(reader, path):
                values = found.setdefault((line.group, line.row), {}).setdefault(line.column, {})
                if line.metric in values:
                    place = f"{line.row}, {line.column}, {line.metric}"
                    raise UsageError(f"{path}, line {reader.line_num}: {place} is there twice.")
                values[line.metric] = line.printed
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise UsageError(f"{path} cannot be read as a reference file: {error}.") from error
    names = [row for _, row in found]
    called = {(group, row): row if names.count(row) == 1 else f"{group} / {row}" for group, row in found}
    rows = {called[place]: values for place, values in found.items()}
    return PrintedValues(path, rows, {called[group, row]: group for group, row in found})


def _lines(reader: csv.DictReader, path: Path) -> Iterator[_Line]:
    header = list(reader.fieldnames or [])
    if header == COLUMNS:
        yield from map(_line_of_value, reader)
        return
    names, values = ([name for name in header if name in known] for known in (NAME_COLUMNS, VALUE_COLUMNS))
    if not names or not values:
        raise UsageError(f"{path} has columns {header}; a reference file has {','.join(COLUMNS)}.")
    for line in reader:
        row = " ".join(line[name] for name in names)
        for name in values:
            if line[name]:
                metric = VALUE_COLUMNS[name]
                yield _Line("", row, metric, metric, _printed_value(metric, line[name], "", fractions=True))


def _line_of_value(line: dict[str, str]) -> _Line:
    metric, column = line["metric"], line["column"]
    if found := METRIC_IN_COLUMN.fullmatch(metric):
        metric, column = found["metric"], found["column"]
    metric = METRIC_NAMES.get(metric, metric)
    printed = _printed_value(metric, line["value"], line["std"], fractions=line["paper"] == "UniFEx")
    return _Line(line["group"], line["row"], column, metric, printed)


def _printed_value(metric: str, value: str, std: str, fractions: bool) -> PrintedValue:
    if metric in TEXTS:
        return PrintedValue(math.nan, None, value.replace("(dagger)", "†"))
    unit = UNITS.get(value[-1])
    scale = unit or (100 if fractions and is_score(metric) else 1)
    number = Decimal(value.rstrip("kM").replace(",", ""))
    deviation = float(Decimal(std) * scale) if std else None
    return PrintedValue(float(number * scale), deviation, value if unit else None)
