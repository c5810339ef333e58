"""What stands out in a table, and how: the best, the worst, the best of a group, what is not told from the best.

The recipe says what (`show.mark`); by default the best measured means stand out. Measured and printed values compete
among themselves, column by column, and two that read alike stand alike.

standing_of(table, table.rows[0], "Mean", "mMP@5", "printed")       # ("best", "best of group")
"""

import math
from collections.abc import Iterator
from typing import Literal

from probe.recipes import PrintedValue, format_value, is_score
from probe.report.table import Cell, Table, TableRow

Standing = Literal["best", "best of group", "worst", "tied"]
Side = Literal["measured", "printed"]
SYMBOLS: dict[Standing, str] = {"best of group": "▲", "worst": "▼", "tied": "≈"}
"""Beside a value, whatever its colour; the best are bold."""
COLOURS: dict[Standing, str] = {"best of group": "blue", "worst": "red"}


def standing_of(table: Table, row: TableRow, column: str, metric: str, side: Side) -> tuple[Standing, ...]:
    """Of a row's value; none of a row that does not compete, nor of what is no score."""
    display = table.recipe.display
    own = _score(row, column, metric, side)
    shown = display.mark or (side == "measured" and column in table.means)
    if own is None or not row.marked or not shown:
        return ()
    competing = [each for each in table.rows if each.marked]
    scores = {each.name: score for each in competing if (score := _score(each, column, metric, side)) is not None}
    of_group = [scores[each.name] for each in competing if each.group == row.group and each.name in scores]

    def reads_as(value: float) -> bool:
        return format_value(metric, value) == format_value(metric, own)

    best = reads_as(max(scores.values()))
    found: list[Standing] = []
    if best and ("best" in display.mark or not display.mark):
        found.append("best")
    if row.group in display.marked_groups and reads_as(max(of_group)):
        found.append("best of group")
    if "worst" in display.mark and not best and reads_as(min(scores.values())):
        found.append("worst")
    comparison = table.significance.get((column, metric)) if side == "measured" else None
    if comparison and row.name in comparison.tied and not best:
        found.append("tied")
    return tuple(found)


def _score(row: TableRow, column: str, metric: str, side: Side) -> float | None:
    found = row.cell(column, metric) if side == "measured" else row.printed_value(column, metric)
    if found is None or not is_score(metric):
        return None
    score = number(found)
    return score if math.isfinite(score) else None


def number(value: Cell | PrintedValue) -> float:
    """NaN for a text."""
    return value.mean if isinstance(value, Cell) else value.value


def marks(table: Table, symbols: bool) -> Iterator[str]:
    """What stands out, a sentence each. `symbols`: with those that stand beside values."""
    display, groups = table.recipe.display, {row.group for row in table.rows}
    up, down = (f" {SYMBOLS[standing]}" if symbols else "" for standing in ("best of group", "worst"))
    rules = ["bold: the best"] if "best" in display.mark else []
    rules += [f"blue{up}: the best of {group}" for group in display.marked_groups if group in groups]
    rules += [f"red{down}: the worst"] if "worst" in display.mark else []
    tied = any(found.tied for found in table.significance.values())
    if rules:
        unmarked = [row.name for row in table.rows if not row.marked]
        without = f", without {', '.join(unmarked)}" if unmarked else ""
        yield f"In each column, of the measured values and of the printed ones{without}: {'; '.join(rules)}."
    elif tied:
        yield "Bold: the best mean."
    if tied:
        yield (
            f"{SYMBOLS['tied']}: no significant difference from the best measured mean in the metric that it stands "
            "behind (paired permutation test over queries, Holm, p >= 0.05)."
        )
