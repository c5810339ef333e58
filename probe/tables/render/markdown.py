"""A table as Markdown: a column for each domain and metric, printed values and differences in lines of their own.

Path("out/tables/quickstart.md").write_text(markdown(table))
"""

from collections.abc import Callable

from probe.tables.agreement import agreement_line
from probe.tables.render.entries import (
    DIFFERENCE,
    TIED,
    Entry,
    difference_text,
    dim_text,
    entries,
    has_difference,
    has_runs,
    legend,
    measured_text,
    printed_name,
    printed_text,
    seeds_text,
    time_text,
)
from probe.tables.table import Table, TableRow


def markdown(table: Table) -> str:
    """The table, and what there is to say of it."""
    agreement = agreement_line(table)
    said = [*([agreement] if agreement else []), *table.reasons]
    lines = [f"# {table.recipe.title}", "", *([table.recipe.about.strip(), ""] if table.recipe.about else [])]
    lines += [*_grid(table), "", legend(table)]
    lines += [""] * bool(said) + [f"- {line}" for line in said]
    notes = [*table.stale, *table.missing, *table.notes]
    lines += [""] * bool(notes) + [f"- {line}" for line in notes]
    if table.needs:
        lines += ["", "To complete this table:", "", "```", *_commands(table), "```"]
    return "\n".join(lines) + "\n"


def _commands(table: Table) -> list[str]:
    """Each below a comment of how long it takes."""
    timed = [(time_text(table, command), command) for command in table.needs]
    return [line for time, command in timed for line in ([f"# {time}", command] if time else [command])]


def _grid(table: Table) -> list[str]:
    runs = has_runs(table)
    header = ["row", *(["dim", "seeds"] if runs else [])]
    places = [(column, metric) for column in table.columns for metric in table.metrics(column)]
    header += [column if column == metric else f"{column} {metric}" for column, metric in places]
    lines = [_line(header), _line(["---", *("---:" for _ in header[1:])])]
    for row in table.rows:
        facts = [dim_text(row), seeds_text(row)] if runs else []
        blank = [""] * len(facts)
        lines.append(_line([row.name, *facts, *_values(table, row, _measured)]))
        if row.printed:
            lines.append(_line([printed_name(row), *blank, *_values(table, row, _printed)]))
        if has_difference(table, row):
            lines.append(_line([DIFFERENCE, *blank, *_values(table, row, _difference)]))
    return lines


def _values(table: Table, row: TableRow, text: Callable[[Entry], str]) -> list[str]:
    return [text(entry) for _, entry in entries(table, row)]


def _measured(entry: Entry) -> str:
    text = measured_text(entry)
    return f"**{text}**" if entry.standing == "best" else f"{text} {TIED}" if entry.standing == "tied" else text


def _printed(entry: Entry) -> str:
    return printed_text(entry) if entry.printed else ""


def _difference(entry: Entry) -> str:
    return difference_text(entry) if entry.difference is not None else ""


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
