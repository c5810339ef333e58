"""What every reader is: from one published annotation file to the rows of a manifest, its options beside it.

A reader turns a file into string columns (`columns`); everything else is common to all formats: the id and the label
written from columns, rows kept by value, split and role, the source by the beginning of the path. No row is dropped
unless `keep` or `distinct` says so, and a bad row is an error that names file, row and remedy.

    config = Delimited.Config(file="train.csv", image="train/{name}", label="{class}", part="train")
    reader_of(config).rows(Path("train.csv"))
"""

import re
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from probe.data.labels import LISTS
from probe.data.manifest import ROLES, SPLITS, repeated
from probe.data.readers.template import columns_of, is_bare, render, require_fields
from probe.errors import UsageError, first_line, nearest
from probe.registry import Kind, Registry
from probe.validation import Strict

ROW = "__row"  # the number of a row in its file, from 1, lines above all rows not counted
AGAIN = "correct the file or download it again"
LEADS_OUT = r"\\|\x00|(^|/)\.{0,2}(/|$)"  # a backslash, a zero byte, or a component that is empty, . or ..
# what libraries raise for content that no reader foresaw
FAULTS = (pl.exceptions.PolarsError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


class Range(Strict):
    """Whole numbers, both ends included."""

    first: int = Field(alias="from")
    last: int = Field(alias="to")


Keep = Literal["present"] | Range | tuple[str, ...]


class Place(Strict):
    """Paths that begin with `prefix` are images of `source`, whose ids have `id` in place of the prefix."""

    prefix: str
    source: str
    id: str = ""
    domain: str | None = None


class Parts(Strict):
    """The split and the role of a row by the value of a column; a value that is not listed is an error."""

    column: str
    values: dict[str, str]

    @field_validator("values")
    @classmethod
    def _known(cls, values: dict[str, str]) -> dict[str, str]:
        for part in values.values():
            split_and_role(part)
        return values


class Reader:
    """Reads the annotation files of one published format."""

    class Config(Kind):
        """One annotation file: where it lies, and how its columns become rows. What all formats share."""

        is_folder: ClassVar[bool] = False
        """Whether `file` is a folder."""

        file: tuple[str, ...]
        """Its path below the data set's folder, or several that are tried in turn."""
        image: str
        """A template of columns (probe/data/readers/template.py): the path of an image."""
        label: str
        """A template of columns: its label."""
        part: str | None = None
        """`train`, or `val` or `test`, whose rows are both query and index unless `/query` or `/index` follows."""
        parts: Parts | None = None
        """In place of `part`, where a column says it."""
        match: dict[str, str] = Field(default_factory=dict)
        """Column -> regular expression whose named groups become columns."""
        explode: dict[str, str] = Field(default_factory=dict)
        """Column -> separator of the values in it, each of which becomes a row."""
        integers: tuple[str, ...] = ()
        """Columns that hold whole numbers."""
        keep: dict[str, Keep] = Field(default_factory=dict)
        """Column -> the values of the rows to keep, or `present`."""
        distinct: bool = False
        """The file lists an image and its label more than once by design."""
        places: tuple[Place, ...] = ()
        """Which source a path belongs to, by its beginning; by default all to the data set's own."""

        @field_validator("file", mode="before")
        @classmethod
        def _one_or_more(cls, file: object) -> object:
            return (file,) if isinstance(file, str) else file

        @field_validator("image", "label")
        @classmethod
        def _templates(cls, template: str) -> str:
            require_fields(template)
            return template

        @field_validator("match")
        @classmethod
        def _patterns(cls, match: dict[str, str]) -> dict[str, str]:
            for pattern in match.values():
                try:
                    names = groups_of(pattern)
                except re.error as error:
                    raise ValueError(f"{pattern} is no regular expression ({error})") from error
                if not names:
                    raise ValueError(f"{pattern} has no named group, (?P<name>...)")
            return match

        @model_validator(mode="after")
        def _one_way_to_the_split(self) -> Self:
            if (self.part is None) == (self.parts is None):
                raise ValueError("a table needs either `part` or `parts`")
            if self.part is not None:
                split_and_role(self.part)
            return self

        @property
        def needed(self) -> list[str]:
            """The columns that are used."""
            wanted = [*self.match, *self.explode, *self.integers, *self.keep]
            wanted += [*columns_of(self.image), *columns_of(self.label)]
            wanted += [self.parts.column] if self.parts else []
            made = {name for pattern in self.match.values() for name in groups_of(pattern)}
            return [name for name in dict.fromkeys(wanted) if name not in made]

        @property
        def splits(self) -> set[str]:
            """The splits that its rows may be of."""
            parts = self.parts.values.values() if self.parts else [str(self.part)]
            return {split_and_role(part)[0] for part in parts}

    def __init__(self, config: Config) -> None:
        self.config: Any = config

    @abstractmethod
    def columns(self, path: Path) -> pl.DataFrame:
        """At least the columns `config.needed`, as strings or lists of strings, and the number of the row."""

    def rows(self, path: Path) -> pl.DataFrame:
        """Columns image, source, label, domain, split, role; source and domain are null where they are the data set's.

        Raises UsageError for a file that does not have the format, naming the file, the row and what to do.
        """
        frame = self._columns(path)
        for name in self.config.integers:
            _refuse_other_than_integers(frame, name, path)
        frame = self._matched(self._kept(self._exploded(frame), path), path)
        label = pl.col(columns_of(self.config.label)[0]) if is_bare(self.config.label) else render(self.config.label)
        frame = frame.select(ROW, *self._part(frame, path), image=render(self.config.image), label=label)
        refuse(frame, pl.col("image").is_null() | (pl.col("image") == ""), path, "no image", "label")
        frame = self._placed(frame, path)
        refuse(frame, pl.col("image").str.contains(LEADS_OUT), path, "a path that leads out of its folder")
        _refuse_labels(frame, path)
        columns = ("image", "source", "label", "domain", "split", "role")
        if self.config.distinct:
            return frame.select(columns).unique(maintain_order=True)
        refuse(frame, repeated(frame), path, "the same image and label as in another row")
        return frame.select(columns)

    def _columns(self, path: Path) -> pl.DataFrame:
        try:
            return self.columns(path)
        except FAULTS as error:
            raise UsageError(f"{path} does not have its format ({first_line(error)}); {AGAIN}.") from error

    def _exploded(self, frame: pl.DataFrame) -> pl.DataFrame:
        for column, separator in self.config.explode.items():
            frame = frame.with_columns(pl.col(column).str.split(separator)).explode(column)
        return frame

    def _kept(self, frame: pl.DataFrame, path: Path) -> pl.DataFrame:
        for column, keep in self.config.keep.items():
            is_present = pl.col(column).is_not_null()  # a list has labels
            frame = frame.filter(is_present if frame.schema[column] == LISTS else _counts(pl.col(column), keep))
        if frame.is_empty():
            raise UsageError(f"{path} has no row that counts; {AGAIN}.")
        return frame

    def _matched(self, frame: pl.DataFrame, path: Path) -> pl.DataFrame:
        for column, pattern in self.config.match.items():
            groups = frame[column].str.extract_groups(pattern).struct.unnest()
            frame = frame.with_columns(groups)
            other = pl.any_horizontal(pl.col(groups.columns).is_null())
            refuse(frame, other, path, f"a '{column}' that is not like {pattern}", column)
        return frame

    def _part(self, frame: pl.DataFrame, path: Path) -> list[pl.Expr]:
        if self.config.parts is None:
            split, role = split_and_role(str(self.config.part))
            return [pl.lit(split).alias("split"), pl.lit(role).alias("role")]
        column, values = self.config.parts.column, self.config.parts.values
        known = ", ".join(values)
        refuse(frame, ~pl.col(column).is_in(list(values)), path, f"a '{column}' other than {known}", column)
        of = {value: split_and_role(part) for value, part in values.items()}
        return [
            pl.col(column).replace_strict({value: pair[i] for value, pair in of.items()}).alias(name)
            for i, name in enumerate(("split", "role"))
        ]

    def _placed(self, frame: pl.DataFrame, path: Path) -> pl.DataFrame:
        """Source, domain and id by the beginning of the path: the longest prefix counts."""
        nothing = pl.lit(None, pl.String)
        if not self.config.places:
            return frame.with_columns(source=nothing, domain=nothing)
        image = source = domain = pl.when(pl.lit(False)).then(nothing)
        for place in sorted(self.config.places, key=lambda place: -len(place.prefix)):
            here = pl.col("image").str.starts_with(place.prefix)
            rest = pl.col("image").str.slice(len(place.prefix))
            image = image.when(here).then(pl.lit(place.id) + rest)
            source = source.when(here).then(pl.lit(place.source))
            domain = domain.when(here).then(pl.lit(place.domain, pl.String))
        known = " or ".join(place.prefix for place in self.config.places)
        elsewhere = ~pl.any_horizontal(*(pl.col("image").str.starts_with(place.prefix) for place in self.config.places))
        refuse(frame, elsewhere, path, f"a path that does not begin with {known}")
        return frame.with_columns(source=source, domain=domain, image=image)


READERS: Registry[type[Reader]] = Registry(
    "reader", "probe.data.readers", Reader, lambda reader, config: reader(config)
)


def reader_of(config: Reader.Config) -> Reader:
    """The reader of that kind."""
    return READERS.find(config.kind)(config)


def _counts(column: pl.Expr, keep: Keep) -> pl.Expr:
    if isinstance(keep, Range):
        return column.str.to_integer(strict=False).is_between(keep.first, keep.last)
    return column.is_not_null() & (column != "") if keep == "present" else column.is_in(keep)


def split_and_role(part: str) -> tuple[str, str]:
    """`train`, `val`, `test/query` -> a split and a role. Raises ValueError for anything else."""
    split, _, role = part.partition("/")
    role = role or ("train" if split == "train" else "both")
    if split not in SPLITS or role not in ROLES or (split == "train") != (role == "train"):
        raise ValueError(f"'{part}' is neither train nor val or test, alone or with /query or /index")
    return split, role


def groups_of(pattern: str) -> list[str]:
    return list(re.compile(pattern).groupindex)


def require(names: list[str], present: list[str], path: Path) -> None:
    """Raises UsageError for a column that the file lacks."""
    for name in names:
        if name not in present:
            raise UsageError(f"{path} has no column '{name}'; {nearest(name, present)} Is it the right file?")


def _refuse_labels(frame: pl.DataFrame, path: Path) -> None:
    label = pl.col("label")
    if frame.schema["label"] == LISTS:
        refuse(frame, (label.list.len() == 0) | label.list.contains(""), path, "no label")
        refuse(frame, label.list.n_unique() < label.list.len(), path, "a label twice")
    else:
        refuse(frame, label == "", path, "no label")


def _refuse_other_than_integers(frame: pl.DataFrame, name: str, path: Path) -> None:
    """Raises UsageError for what is no whole number, and for two spellings of one (`01`, `1`): two labels."""
    refuse(frame, ~pl.col(name).str.contains(r"^-?[0-9]+$"), path, f"a '{name}' that is no whole number", name)
    padded = pl.col(name).str.contains(r"^-?0[0-9]")
    if frame.select(padded.any()).item():
        spellings = pl.col(name).n_unique().over(pl.col(name).str.replace(r"^(-?)0+([0-9])", "${1}${2}"))
        refuse(frame, padded & (spellings > 1), path, f"a '{name}' that other rows write with other zeros", name)


def refuse(frame: pl.DataFrame, bad: pl.Expr | pl.Series, path: Path, what: str, show: str = "image") -> None:
    """Raises UsageError for the first row that is bad, or neither."""
    rows = frame.filter(bad.fill_null(True))
    if not rows.is_empty():
        row = rows.row(0, named=True)
        more = f", and {rows.height - 1:,} more" if rows.height > 1 else ""
        raise UsageError(f"{path}, row {row[ROW]}: {what} ({show} {row[show]!r}){more}; {AGAIN}.")
