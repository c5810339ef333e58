"""Which rows of an index a search looks at: those that are there, and for which a condition on the columns holds.

rows_where(state, "domain = 'shoes' AND width > 300")     # of each segment (n,) rows
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from probe.errors import UsageError, first_line
from probe.index.segment import Segment
from probe.index.state import State


def rows_where(state: State, where: str | None) -> Sequence[np.ndarray | None]:
    """Of each segment (n,) int64, ascending; None for all that are there. Where a row has not got a column, that is
    null, and null is not true.

    Raises UsageError for a condition that Polars cannot read, or that is none.
    """
    if where is None:
        return [None] * len(state.segments)
    return [_rows_where(segment, where, state.schema) for segment in state.segments]


def _rows_where(segment: Segment, where: str, schema: dict[str, pl.DataType]) -> np.ndarray:
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in segment.frame.columns]
    frame = segment.frame.with_columns(missing)
    try:
        found = frame.select(condition=pl.sql_expr(where))["condition"]
    except (Exception, pl.exceptions.PanicException) as error:  # a parser of others, on words of anybody
        raise UsageError(
            f"the condition {where!r} cannot be used ({first_line(error)}); write one on the columns "
            f"{', '.join(schema)}, such as \"label = 'shoe'\"."
        ) from error
    if found.dtype != pl.Boolean or len(found) != len(segment):
        raise UsageError(f'{where!r} is not true or false of each row; compare a column, as in "width > 300".')
    return np.flatnonzero(found.fill_null(False).to_numpy() & segment.live)
