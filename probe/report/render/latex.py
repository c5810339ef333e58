r"""A table as LaTeX, to be read with \input into a document that has the packages which its first lines name.

A column for each domain and metric; printed values and differences in lines of their own. Decimal points stand below
each other: what a cell lacks of deviation and mark is left blank, as wide as that of the others. Names and notes are
escaped; a character that LaTeX's standard fonts lack is written as its code point, `U+4E2D`.

Path("out/tables/quickstart.tex").write_text(latex(table))
"""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from probe.report.agreement import agreement_line
from probe.report.render.entries import Entry, Line, entries, headed, legend, lines
from probe.report.render.standing import COLOURS
from probe.report.table import Table, TableRow
from probe.workspace import file_name

GREEK = "alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi omega"
LETTERS = "œŒłŁđĐŋŊı"  # beyond Latin-1 and letters with accents
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "µ": r"$\mu$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "×": r"$\times$",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "→": r"$\rightarrow$",
    "√": r"$\surd$",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "°": r"$^{\circ}$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # at the start of a line they would belong to its break
    **{letter: rf"$\{name}$" for letter, name in zip("αβγδεθλμπρστφω", GREEK.split(), strict=True)},
}


def latex(table: Table) -> str:
    """A `table` environment with title, numbers and legend; the notes and the reasons for missing rows in comments."""
    facts = ["dim", "seeds"] if table.has_runs else []
    tails = _widest_tails(table)
    cells = "r" * (len(facts) + sum(len(table.metrics(column)) for column in table.columns))
    agreement = agreement_line(table)
    caption = " ".join([legend(table, symbols=False), *([agreement] if agreement else [])])
    text = [
        r"% \usepackage[T1]{fontenc}",
        r"% \usepackage{booktabs}",
        *([r"% \usepackage{xcolor}"] if table.recipe.display.mark else []),
        *(
            f"% {line}"
            for each in (*table.reasons, *table.stale, *table.missing, *table.notes)
            for line in each.splitlines()
        ),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.recipe.title)}}}",
        rf"\label{{tab:{file_name(table.recipe.name)}}}",
        rf"\begin{{tabular}}{{@{{}}l{cells}@{{}}}}",
        r"\toprule",
        *_header(table, facts),
        r"\midrule",
        *(
            line
            for heading, row in headed(table)
            for line in [*_heading(heading, table, facts), *_row(table, row, tails)]
        ),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\smallskip\footnotesize {escaped(caption)}",
        r"\end{table}",
    ]
    return "\n".join(text) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SPECIAL.get(character) or _plain(character) for character in " ".join(text.split()))


def _plain(character: str) -> str:
    """A character of the T1 encoding as it is; the code point of any other."""
    accented = unicodedata.normalize("NFD", character)[0].isascii()
    letter = character.isalpha() and (accented or "À" <= character <= "ÿ" or character in LETTERS)
    return character if letter or (character.isascii() and character.isprintable()) else f"U+{ord(character):04X}"


def _header(table: Table, facts: list[str]) -> list[str]:
    """The columns, and below them their metrics where any has several."""
    metrics = [table.metrics(column) for column in table.columns]
    if all(len(of_column) == 1 for of_column in metrics):
        return [_line(["", *facts, *map(escaped, table.columns)])]
    spans, rules, first = [], [], 2 + len(facts)
    for column, of_column in zip(table.columns, metrics, strict=True):
        spans.append(rf"\multicolumn{{{len(of_column)}}}{{c}}{{{escaped(column)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + len(of_column) - 1}}}")
        first += len(of_column)
    names = [escaped(metric) for of_column in metrics for metric in of_column]
    return [_line(["", *("" for _ in facts), *spans]), " ".join(rules), _line(["", *facts, *names])]


def _heading(heading: str, table: Table, facts: list[str]) -> list[str]:
    """Over all columns, with a little space above."""
    if not heading:
        return []
    columns = 1 + len(facts) + sum(len(table.metrics(column)) for column in table.columns)
    return [r"\addlinespace", _line([rf"\multicolumn{{{columns}}}{{@{{}}l}}{{\textit{{{escaped(heading)}}}}}"])]


class _Tail(NamedTuple):
    """What stands behind the value of a cell."""

    deviation: str
    mark: str


def _row(table: Table, row: TableRow, widest: list[_Tail]) -> Iterator[str]:
    for line in lines(table, row):
        name = escaped(line.name) if line.kind == "measured" else rf"\quad\textit{{{escaped(line.name)}}}"
        cells = [_cell(line, entry, tail) for (_, entry), tail in zip(entries(table, row), widest, strict=True)]
        yield _line([name, *line.facts, *cells])


def _widest_tails(table: Table) -> list[_Tail]:
    """Of each column."""
    rows = [
        [_tail(line, entry) for _, entry in entries(table, row)] for row in table.lines for line in lines(table, row)
    ]
    return [_Tail(*(max(parts, key=len) for parts in zip(*column, strict=True))) for column in zip(*rows, strict=True)]


def _tail(line: Line, entry: Entry) -> _Tail:
    _, between, deviation = line.text(entry).partition(" ± ")
    tied = f" {SPECIAL['≈']}" if "tied" in line.standing(entry) else ""
    return _Tail(f" {SPECIAL['±']} {escaped(deviation)}" if between else "", tied)


def _cell(line: Line, entry: Entry, widest: _Tail) -> str:
    if line.kind != "measured" and not line.has(entry):
        return ""
    value, _, _ = line.text(entry).partition(" ± ")
    tail = _tail(line, entry)
    if line.kind == "difference":
        text = f"${value}$"
    else:
        text = escaped(value.replace("-", "−") if entry.signed else value) + tail.deviation
    for standing in line.standing(entry):
        if standing in COLOURS:
            text = rf"\textcolor{{{COLOURS[standing]}}}{{{text}}}"
        elif standing != "tied":
            text = rf"\textbf{{{text}}}"
    return text + _blank(widest.deviation, tail.deviation) + tail.mark + _blank(widest.mark, tail.mark)


def _blank(widest: str, own: str) -> str:
    """As wide as the widest where a cell has nothing."""
    return rf"\phantom{{{widest}}}" if widest and not own else ""


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
