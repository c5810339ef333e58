"""The labels of a manifest's rows: one each (strings), or a list in every row where any row has several.

As text, which is what a CSV file holds, several labels are a JSON array of strings, and so is one label that begins
with `[`; any other label stands as it is.

    to_text(pl.Series([["cat"], ["dog", "wolf"]]))      # cat · ["dog", "wolf"]
"""

import json
from collections.abc import Iterable

import polars as pl

from probe.errors import UsageError

LISTS = pl.List(pl.String)


def plainest(labels: pl.Series) -> pl.Series:
    """Strings where no row has several labels, else lists."""
    if labels.dtype == LISTS and not (labels.list.len() > 1).any():
        return labels.list.first()
    return labels


def as_lists(labels: pl.Series) -> pl.Series:
    """A list in every row."""
    return labels if labels.dtype == LISTS else labels.to_frame().select(pl.concat_list(pl.all())).to_series()


def to_text(labels: pl.Series) -> pl.Series:
    """Strings that `from_text` takes back to the same labels."""
    plain = labels.list.first() if labels.dtype == LISTS else labels
    as_array = plain.str.starts_with("[")
    if labels.dtype == LISTS:
        as_array = as_array | (labels.list.len() > 1)
    arrays = as_lists(labels.filter(as_array)).to_list()
    return _replaced(
        plain, as_array, pl.Series([json.dumps(each, ensure_ascii=False) for each in arrays], dtype=pl.String)
    )


def from_text(text: pl.Series, where: str) -> pl.Series:
    """Labels (plainest) of cells. Raises UsageError naming the row for a `[` that begins no JSON array of strings."""
    is_array = text.str.starts_with("[").fill_null(False)
    if not is_array.any():
        return text
    cells = zip(is_array.arg_true(), text.filter(is_array), strict=True)
    arrays = pl.Series(_parsed(cells, where), dtype=LISTS)
    return plainest(_replaced(as_lists(text), is_array, arrays))


def _parsed(cells: Iterable[tuple[int, str]], where: str) -> list[list[str]]:
    found = []
    for row, cell in cells:
        try:
            array = json.loads(cell)
        except ValueError:
            array = None
        if not isinstance(array, list) or not all(isinstance(label, str) for label in array):
            raise UsageError(
                f"{where}: the label {cell} in row {row + 1} begins with '[' and is no JSON array of strings; "
                f'write several labels as ["a", "b"], and this one as {json.dumps([cell], ensure_ascii=False)}.'
            )
        found.append(array)
    return found


def _replaced(values: pl.Series, where: pl.Series, new: pl.Series) -> pl.Series:
    """`values` with those at `where` replaced, in order."""
    if new.is_empty():
        return values
    rows = pl.int_range(len(values), eager=True).to_numpy(writable=True)
    rows[where.to_numpy()] = range(len(values), len(values) + len(new))
    return pl.concat([values, new.alias(values.name)]).gather(rows).rechunk()
