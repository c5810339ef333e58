"""A table as Markdown: a column for each domain and metric, printed values and differences in lines of their own.

Path("out/tables/quickstart.md").write_text(markdown(table))
"""

from probe.report.agreement import agreement_line
from probe.report.render.entries import Entry, Line, entries, headed, legend, lines, time_text
from probe.report.table import Table


def markdown(table: Table) -> str:
    """The table with its legend, its notes, and the commands that complete it."""
    agreement = agreement_line(table)
    comparison = [*([agreement] if agreement else []), *table.reasons]
    text = [f"# {table.recipe.title}", "", *([table.recipe.about.strip(), ""] if table.recipe.about else [])]
    text += [*_grid(table), "", legend(table)]
    text += [""] * bool(comparison) + [f"- {line}" for line in comparison]
    notes = [*table.stale, *table.missing, *table.notes]
    text += [""] * bool(notes) + [f"- {line}" for line in notes]
    if table.commands:
        text += ["", "To complete this table:", "", "```", *_commands(table), "```"]
    return "\n".join(text) + "\n"


def _commands(table: Table) -> list[str]:
    """Each below a comment with its time."""
    timed = [(time_text(table, command), command) for command in table.commands]
    return [line for time, command in timed for line in ([f"# {time}", command] if time else [command])]


def _grid(table: Table) -> list[str]:
    header = ["row", *(["dim", "seeds"] if table.has_runs else [])]
    places = [(column, metric) for column in table.columns for metric in table.metrics(column)]
    header += [column if column == metric else f"{column} {metric}" for column, metric in places]
    grid = [_line(header), _line(["---", *("---:" for _ in header[1:])])]
    for heading, row in headed(table):
        if heading:
            grid.append(_line([f"*{heading}*", *("" for _ in header[1:])]))
        for line in lines(table, row):
            grid.append(_line([line.name, *line.facts, *(_cell(line, entry) for _, entry in entries(table, row))]))
    return grid


def _cell(line: Line, entry: Entry) -> str:
    text = line.text(entry)
    if line.kind != "measured" and not line.has(entry):
        return ""
    bold = "**" if "best" in line.standing(entry) else ""
    return f"{bold}{text}{bold}{line.symbols(entry)}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
