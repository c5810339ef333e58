"""How an image's id or a label is written from the columns of an annotation file.

`{column}` is a field, `{column[0]}` its first character, `{column[:3]}` its first three.

render("train/{id[0]}/{id[1]}/{id[2]}/{id}.jpg")     # train/a/b/c/abcdef0123456789.jpg
"""

import re

import polars as pl

FIELD = re.compile(r"\{(\w+)(?:\[(\d*)(:?)(\d*)\])?\}")


def require_fields(template: str) -> None:
    """Raises ValueError where a brace is of no field."""
    if re.search(r"[{}]", FIELD.sub("", template)):
        raise ValueError(
            f"'{template}' has a brace that belongs to no field; write {{column}}, {{column[0]}} or {{column[:3]}}"
        )


def columns_of(template: str) -> list[str]:
    return [match[1] for match in FIELD.finditer(template)]


def is_bare(template: str) -> bool:
    """Whether it is one column as it stands."""
    match = FIELD.fullmatch(template)
    return match is not None and match[0] == f"{{{match[1]}}}"


def render(template: str) -> pl.Expr:
    pieces: list[pl.Expr] = []
    end = 0
    for match in FIELD.finditer(template):
        pieces += [pl.lit(template[end : match.start()]), _field(match)]
        end = match.end()
    return pl.concat_str([*pieces, pl.lit(template[end:])])


def _field(match: re.Match[str]) -> pl.Expr:
    column, start, colon, stop = match.groups()
    if start is None:
        return pl.col(column)
    first = int(start or 0)
    length = 1 if not colon else int(stop) - first if stop else None
    return pl.col(column).str.slice(first, length)
