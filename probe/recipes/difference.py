"""The difference of two rows, beside an improvement that a paper prints without the values that it comes from.

differences:
  - {name: PCA over pooling, of: PCA, minus: Pooling, printed: PCA over pooling, column: {Mean: private}}
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from probe.errors import UsageError, nearest
from probe.recipes.printed import PrintedValues
from probe.recipes.row import PrintedRelation, checked_relation


class DifferenceFile(PrintedRelation):
    """The keys of a difference."""

    name: str
    of: str
    minus: str


@dataclass(frozen=True)
class Difference:
    """Of each measured value of a row, less that of another one."""

    name: str
    of: str
    minus: str
    relation: PrintedRelation


def checked_differences(
    files: Sequence[DifferenceFile], rows: Collection[str], reference: PrintedValues | None, where: str
) -> list[Difference]:
    """`rows`: the names of those that have runs. Raises UsageError for a row that is not among them, or is taken from
    itself, and for a name that is a row's, or there twice."""
    found: list[Difference] = []
    for file in files:
        place = f"{where}: difference '{file.name}'"
        if file.name in (*rows, *(other.name for other in found)):
            raise UsageError(f"{place}: something else has this name; names tell the lines of a table apart.")
        for key, row in (("of", file.of), ("minus", file.minus)):
            if row not in rows:
                raise UsageError(f"{place}: {key}: no row with runs is called '{row}'; {nearest(row, rows)}")
        if file.of == file.minus:
            raise UsageError(f"{place}: `of` and `minus` are the same row.")
        found.append(Difference(file.name, file.of, file.minus, checked_relation(place, file, reference)))
    return found
