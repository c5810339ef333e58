"""The papers' tables about their data, counted again from the data sets that are here, and the same of any manifest.

The printed numbers are in statistics.yaml. A data set is read once, whatever many rows are of it. One that joins others
is the sum of its parts, which share no domain and no source.

    for table in measured_tables(read):         # read: a data set's name -> its manifest
        table.title, table.rows[0].measured     # {"images": 472349, "classes": 900}, None where it is not here
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, Self

import polars as pl
from pydantic import model_validator

from probe.data.curation_report import rounds_to
from probe.data.dataset import MissingDataError, find_dataset
from probe.data.manifest import Manifest
from probe.data.selection import CLASS, IMAGE
from probe.errors import UsageError, nearest
from probe.progress import say
from probe.validation import Strict, parse_yaml

Value = int | str
Column = Literal[
    "domains",
    "classes",
    "images",
    "query images",
    "query classes",
    "index images",
    "index classes",
    "index = queries",
    "unseen classes",
]
Measured = dict[tuple[str, "PrintedRow"], dict[Column, Value]]
WORDS = ("index = queries", "unseen classes")  # columns without numbers
QUERY, INDEX = ("query", "both"), ("index", "both")


class PrintedRow(Strict):
    name: str
    printed: tuple[Value, ...]
    data: str | None = None
    split: Literal["train", "val", "test"] | None = None
    domain: str | None = None
    total: bool = False
    note: str = ""

    @property
    def place(self) -> str:
        """`SOP val`: what tells it from the table's other rows."""
        return f"{self.name} {self.split}" if self.split in ("val", "test") else self.name


class PrintedTable(Strict):
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[PrintedRow, ...]
    note: str = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for row in self.rows:
            if row.data is not None:
                find_dataset(row.data)
            if row.data is None and not (row.total or row.note):
                raise ValueError(f"{self.title}: '{row.name}' needs `data`, `total` or `note`")
        return self


class _File(Strict):
    tables: tuple[PrintedTable, ...]


@dataclass(frozen=True)
class StatisticsRow:
    """`measured`: by column, None where it cannot be; `state`: found, not found, or what else is the matter."""

    printed: PrintedRow
    measured: dict[Column, Value] | None
    state: str


@dataclass(frozen=True)
class StatisticsTable:
    printed: PrintedTable
    rows: list[StatisticsRow]


@cache
def printed_tables() -> tuple[PrintedTable, ...]:
    file = files("probe.data") / "statistics.yaml"
    return _File.model_validate(parse_yaml(file.read_text(encoding="utf-8"))).tables


def find_table(title: str) -> PrintedTable:
    """Raises UsageError with the nearest title for one that is not there."""
    tables = {table.title: table for table in printed_tables()}
    if title not in tables:
        raise UsageError(f"there are no statistics '{title}'; {nearest(title, tables)}")
    return tables[title]


def data_of_tables(tables: Sequence[PrintedTable] | None = None) -> list[str]:
    """The data sets of the catalogue that the tables are about, those that join others by their parts."""
    names = [row.data for table in tables or printed_tables() for row in table.rows if row.data]
    return list(dict.fromkeys(part.name for name in names for part in find_dataset(name).parts))


def measured_tables(
    read: Callable[[str], Manifest], tables: Sequence[PrintedTable] | None = None
) -> list[StatisticsTable]:
    """Every table, or these, beside what is here. `read` raises MissingDataError for a data set that is not, and
    UsageError for one that cannot be read, which says so and stops no other."""
    tables = tables or printed_tables()
    wanted = [(row, table.columns) for table in tables for row in table.rows if row.data]
    measured: Measured = {}
    faulty = set()
    for name in data_of_tables(tables):
        try:
            manifest = read(name)
        except MissingDataError:
            continue
        except UsageError as error:
            say(f"{name} cannot be counted: {error}")
            faulty.add(name)
            continue
        for row, columns in wanted:
            if name in _parts(row):
                measured[name, row] = measure(manifest, columns, row.split, row.domain)
    return [StatisticsTable(table, _rows(table, measured, faulty)) for table in tables]


def _rows(table: PrintedTable, measured: Measured, faulty: set[str]) -> list[StatisticsRow]:
    rows: list[StatisticsRow] = []
    for row in table.rows:
        if row.total:
            parts = [above.measured for above in rows if above.printed.split == row.split]
        else:
            parts = [measured.get((part, row)) for part in _parts(row)]
        here = [part for part in parts if part is not None]
        if here and len(here) == len(parts):
            rows.append(StatisticsRow(row, _summed(here), "found"))
        elif here:
            rows.append(StatisticsRow(row, None, f"{len(here)} of {len(parts)} found"))
        else:
            rows.append(StatisticsRow(row, None, row.note or ("faulty" if faulty & set(_parts(row)) else "not found")))
    return rows


def _parts(row: PrintedRow) -> list[str]:
    return [part.name for part in find_dataset(row.data).parts] if row.data else []


def _summed(parts: list[dict[Column, Value]]) -> dict[Column, Value]:
    if len(parts) == 1:
        return parts[0]
    return {column: sum(int(part[column]) for part in parts) for column in parts[0] if column not in WORDS}


def measure(
    manifest: Manifest, columns: tuple[Column, ...], split: str | None = None, domain: str | None = None
) -> dict[Column, Value]:
    """What the columns are of the rows of a split and a domain, or of all rows."""
    frame = manifest.frame.explode("label") if manifest.has_several_labels else manifest.frame
    if domain is not None:
        frame = frame.filter(pl.col("domain") == domain)
    train = frame.filter(pl.col("split") == "train")
    if split is not None:
        frame = frame.filter(pl.col("split") == split)
    return {column: _measured(column, frame, train) for column in columns}


def _measured(column: Column, frame: pl.DataFrame, train: pl.DataFrame) -> Value:
    queries, index = (frame.filter(pl.col("role").is_in(roles)) for roles in (QUERY, INDEX))
    match column:
        case "domains":
            return frame["domain"].n_unique()
        case "images" | "query images" | "index images":
            rows = {"images": frame, "query images": queries, "index images": index}[column]
            return rows.select(IMAGE).n_unique()
        case "classes" | "query classes" | "index classes":
            rows = {"classes": frame, "query classes": queries, "index classes": index}[column]
            return rows.select(CLASS).n_unique()
        case "index = queries":
            both = [rows.select(IMAGE).unique() for rows in (queries, index)]
            shared = both[0].join(both[1], on=IMAGE, how="semi")
            return "yes" if len(shared) == len(both[0]) == len(both[1]) else "no"
        case "unseen classes":
            classes = queries.select(CLASS).unique()
            unseen = len(classes.join(train.select(CLASS).unique(), on=CLASS, how="anti"))
            return "yes" if unseen == len(classes) else "partly" if unseen else "no"


def agrees(measured: Value, printed: Value) -> bool:
    """Whether a value is printed so, rounded as it is."""
    if isinstance(measured, str) or printed in ("yes", "no", "partly"):
        return measured == printed
    return rounds_to(measured, str(printed))


def class_sizes(manifest: Manifest) -> pl.DataFrame:
    """A row for each domain and split, sorted: images, classes, and the least, median and most images of a class."""
    frame = manifest.frame.explode("label") if manifest.has_several_labels else manifest.frame
    place = ["domain", "split"]
    images = frame.group_by(place).agg(images=pl.struct(IMAGE).n_unique())
    sizes = frame.group_by(*place, "label").agg(size=pl.struct(IMAGE).n_unique())
    size = pl.col("size")
    spread = sizes.group_by(place).agg(classes=pl.len(), least=size.min(), median=size.median(), most=size.max())
    order = pl.col("split").replace_strict({"train": 0, "val": 1, "test": 2})
    return images.join(spread, on=place).sort("domain", order)
