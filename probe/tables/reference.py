"""Printed values of a paper's table: a CSV in recipes/reference/ with the columns below.

read_reference(Path("recipes/reference/uned_table4.csv")).rows["IN+Oracle"]["Mean"]["mMP@5"]     # Printed(54.9, 0.4)
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from probe.errors import UsageError

COLUMNS = ["paper", "table", "group", "row", "column", "metric", "value", "std"]
MEAN = "Mean"


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
            if reader.fieldnames != COLUMNS:
                raise UsageError(f"{path} has columns {reader.fieldnames}; a reference file has {','.join(COLUMNS)}.")
            for line in reader:
                row = found.setdefault((line["group"], line["row"]), {})
                values = row.setdefault(line["column"], {})
                if line["metric"] in values:
                    place = f"{line['row']}, {line['column']}, {line['metric']}"
                    raise UsageError(f"{path}, line {reader.line_num}: {place} is there twice.")
                values[line["metric"]] = Printed(float(line["value"]), float(line["std"]) if line["std"] else None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as a reference file: {error}.") from error
    names = [row for _, row in found]
    return Reference(
        path, {row if names.count(row) == 1 else f"{group} / {row}": found[group, row] for group, row in found}
    )
