"""Printed values of a paper's table: a CSV in recipes/reference/, with one line a value (the columns below), or with
one line a row and the columns that VALUES knows, each of which is a metric and the column of the table with its name.

Scores are in percent: where the paper is UniFEx, whose scores are fractions, they are multiplied by 100, as are those
of files with one line a row. A metric of the form `mMP@5 (GUIEC private split, %)` is mMP@5 in the column GUIEC private
split. 431M is 431,000,000, and is shown as it is printed.

read_reference(Path("recipes/reference/uned_table4.csv")).rows["IN+Oracle"]["Mean"]["mMP@5"]     # Printed(54.9, 0.4)
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
METRICS = {"# total params": "total parameters", "# train params": "trainable parameters"}
PLACED = re.compile(r"(?P<metric>\S+) \((?P<column>.+), %\)")
UNITS = {"k": 1_000, "M": 1_000_000}
NAMES = ("dataset", "split", "setting")  # of a file with one line a row: what its name is made of
VALUES = {
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


class Printed(NamedTuple):
    """A score in percent, or a count; `std` where the paper gives one.

    `text`: as printed, where that is shorter than the number (431M), or no number, whose value is NaN.
    `written(metric, printed.shown)` is how it is written.
    """

    value: float
    std: float | None
    text: str | None = None

    @property
    def shown(self) -> float | str:
        return self.value if self.text is None else self.text


class _Value(NamedTuple):
    """`of`: group and row."""

    of: tuple[str, str]
    column: str
    metric: str
    printed: Printed


@dataclass(frozen=True)
class Reference:
    """`rows[row][column][metric]`; the column of the balanced mean is called Mean.

    A row that several groups of the table have is called `GROUP / ROW`.
    """

    path: Path
    rows: dict[str, dict[str, dict[str, Printed]]]

    @property
    def domains(self) -> list[str]:
        """The columns but the mean, in the order of the print."""
        columns = (column for row in self.rows.values() for column in row)
        return [column for column in dict.fromkeys(columns) if column != MEAN]


def read_reference(path: Path) -> Reference:
    """Raises UsageError, naming file and line, for a file of another layout, and for a value that is there twice."""
    found: dict[tuple[str, str], dict[str, dict[str, Printed]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for value in _values(reader, path):
                values = found.setdefault(value.of, {}).setdefault(value.column, {})
                if value.metric in values:
                    place = f"{value.of[1]}, {value.column}, {value.metric}"
                    raise UsageError(f"{path}, line {reader.line_num}: {place} is there twice.")
                values[value.metric] = value.printed
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise UsageError(f"{path} cannot be read as a reference file: {error}.") from error
    names = [row for _, row in found]
    return Reference(
        path, {row if names.count(row) == 1 else f"{group} / {row}": found[group, row] for group, row in found}
    )


def _values(reader: csv.DictReader, path: Path) -> Iterator[_Value]:
    header = list(reader.fieldnames or [])
    if header == COLUMNS:
        yield from (_of_line(line) for line in reader)
        return
    names, values = ([name for name in header if name in known] for known in (NAMES, VALUES))
    if not names or not values:
        raise UsageError(f"{path} has columns {header}; a reference file has {','.join(COLUMNS)}.")
    for line in reader:
        row = " ".join(line[name] for name in names)
        for name in values:
            if line[name]:
                metric = VALUES[name]
                yield _Value(("", row), metric, metric, _printed(metric, line[name], "", fractions=True))


def _of_line(line: dict[str, str]) -> _Value:
    metric, column = line["metric"], line["column"]
    placed = PLACED.fullmatch(metric)
    if placed:
        metric, column = placed["metric"], placed["column"]
    metric = METRICS.get(metric, metric)
    printed = _printed(metric, line["value"], line["std"], fractions=line["paper"] == "UniFEx")
    return _Value((line["group"], line["row"]), column, metric, printed)


def _printed(metric: str, value: str, std: str, fractions: bool) -> Printed:
    if metric in TEXTS:
        return Printed(math.nan, None, value.replace("(dagger)", "†"))
    unit = UNITS.get(value[-1])
    scale = unit or (100 if fractions and is_score(metric) else 1)
    number = Decimal(value.rstrip("kM").replace(",", ""))
    deviation = float(Decimal(std) * scale) if std else None
    return Printed(float(number * scale), deviation, value if unit else None)
