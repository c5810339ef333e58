"""Printed values of a paper's table: a CSV in recipes/reference/ with the columns below.

read_reference(Path("recipes/reference/pocket.csv")).rows["MobileNetV1"]["Mean"]["mMP@5"]
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from probe.errors import UsageError

COLUMNS = ["paper", "table", "group", "row", "column", "metric", "value", "std"]
MEAN = "Mean"


@dataclass(frozen=True)
class Reference:
    """`rows[row][column][metric]`, in percent; the column of the balanced mean is called Mean."""

    path: Path
    rows: dict[str, dict[str, dict[str, float]]]


def read_reference(path: Path) -> Reference:
    """Raises UsageError, naming file and line, for a file of another layout."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != COLUMNS:
                raise UsageError(f"{path} has columns {reader.fieldnames}; a reference file has {','.join(COLUMNS)}.")
            for line in reader:
                column = rows.setdefault(line["row"], {}).setdefault(line["column"], {})
                column[line["metric"]] = float(line["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as a reference file: {error}.") from error
    return Reference(path, rows)
