"""Rank agreement of measured and printed values: Spearman's rank correlation over the rows that have both.

Where the benchmark is another one than the paper's, the order is all that can be compared.

rank_agreement(table)[0]     # Agreement("Mean", "mMP@5", 0.93, 12)
"""

import math
from typing import NamedTuple

from probe.metrics import spearman
from probe.report.table import Table

LEAST_ROWS = 3


class Agreement(NamedTuple):
    """Of one metric in one column."""

    column: str
    metric: str
    rho: float
    """From -1, the printed order reversed, to 1, the same order."""
    rows: int
    """How many have both values."""


def rank_agreement(table: Table) -> list[Agreement]:
    """Of each score of each mean; none with fewer than three rows, or where all values are equal."""
    found = []
    for column in table.means:
        for metric in table.recipe.display.score_metrics:
            pairs = [
                (cell.mean, printed.value)
                for row in table.rows
                if (cell := row.cell(column, metric)) and (printed := row.printed_value(column, metric))
            ]
            pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
            if len(pairs) >= LEAST_ROWS and all(len(set(values)) > 1 for values in zip(*pairs, strict=True)):
                measured, printed = zip(*pairs, strict=True)
                found.append(Agreement(column, metric, spearman(measured, printed), len(pairs)))
    return found


def agreement_line(table: Table) -> str | None:
    """`Rank agreement with the printed values (Spearman): mMP@5 0.93, R@1 0.88; 12 rows.`"""
    found = rank_agreement(table)
    if not found:
        return None
    mean = table.means[0]
    parts = [f"{metric}{'' if column == mean else f' ({column})'} {rho:.2f}" for column, metric, rho, _ in found]
    rows = sorted({agreement.rows for agreement in found})
    count = str(rows[0]) if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
    return f"Rank agreement with the printed values (Spearman): {', '.join(parts)}; {count} rows."
