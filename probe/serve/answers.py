"""The JSON that the application answers, which its OpenAPI page describes."""

from typing import Any

from pydantic import BaseModel

from probe.embed import Contributions

SUM = "Brighter parts add more to the similarity; it is the sum of all of them."
OF_TOKENS = (
    "Brighter patches are those whose own token is more similar. This backbone does not pool by an average, so that "
)
OF_TOKENS += "they do not add up to the similarity."

Value = str | int | float | bool | None


class About(BaseModel):
    name: str
    rows: int
    dim: int
    distance: str
    images: bool
    """Whether images can be searched for, and not only rows: the index has an embedder."""
    columns: dict[str, str]
    """What a filter can name, each with its type."""
    promise: str | None
    """What "no match" means; null where no rate was asked for, or the index is not calibrated for its rows."""
    upload_bytes: int
    """The largest file that is taken."""


class Row(BaseModel):
    id: str
    label: str | None
    columns: dict[str, Value]


class Rows(BaseModel):
    total: int
    """All that there are of these; `rows` are some of them."""
    rows: list[Row]


class Hit(Row):
    rank: int
    similarity: float
    """The cosine, or minus the Euclidean distance."""
    no_match: bool | None
    """Whether it is less similar than the index's threshold; null where there is none."""


class Found(BaseModel):
    query: str
    seconds: float
    hits: list[Hit]


class Failure(BaseModel):
    query: Row
    hit: Hit


class Failures(BaseModel):
    labelled: int
    """Rows with a label."""
    findable: int
    """Those of them that have another file of their label in the index; the others are left out."""
    queries: int
    """Those of these that were searched, evenly spaced."""
    wrong: int
    failures: list[Failure]
    """Some of the wrong ones, the most similar first."""


class Map(BaseModel):
    """How much each part of an image adds to the similarity."""

    values: list[list[float]]
    """By rows and columns."""
    exact: bool
    """Whether `values` and `rest` add up to the similarity."""
    rest: float
    """What does not depend on the image."""
    seen: tuple[float, float, float, float]
    """The part of the image that the backbone sees: left, top, width, height as shares of its sides."""


class Why(BaseModel):
    note: str
    query: Map
    hit: Map


class Problem(BaseModel):
    detail: str
    """One sentence."""


class Health(BaseModel):
    status: str


def row(columns: dict[str, Any]) -> Row:
    return Row(**_row(columns))


def hit(columns: dict[str, Any]) -> Hit:
    own = {name: columns[name] for name in ("rank", "similarity")}
    return Hit(**own, **_row(columns), no_match=None if columns.get("match") is None else not columns["match"])


def why(query: Contributions, hit: Contributions) -> Why:
    return Why(note=SUM if query.exact and hit.exact else OF_TOKENS, query=_map(query), hit=_map(hit))


def _map(of: Contributions) -> Map:
    return Map(values=of.values.tolist(), exact=of.exact, rest=of.rest, seen=of.seen)


OWN = ("id", "label", "query", "rank", "similarity", "match")


def _row(columns: dict[str, Any]) -> dict[str, Any]:
    label = columns.get("label")
    others = {name: _plain(value) for name, value in columns.items() if name not in OWN}
    return {"id": columns["id"], "label": None if label is None else str(label), "columns": others}


def _plain(value: Any) -> Value:
    """What JSON, and those who read it, can hold: no NaN, and no integer beyond 2⁵³."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    return value if isinstance(value, int) and abs(value) < 1 << 53 else str(value)
