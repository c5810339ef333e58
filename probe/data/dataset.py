"""The known data sets: rows of data (datasets.yaml, or a file of the user's) that say where a data set lies, how it is
annotated, and what its publishers count in it.

An image belongs to a source, a folder that several data sets may share, and its id is its path below that folder: GLDv2
extracted once serves its own lists, M4D-35k and UnED.

    manifest = read_dataset("sop", Path("/data"))
    find_dataset("uned").missing(Path("/data"))      # ["uned/info_files/food2k/train.json", ...]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl
from pydantic import ValidationError, model_validator

from probe.data.labels import LISTS, as_lists
from probe.data.manifest import COLUMNS, SPLITS, Manifest
from probe.data.readers import READERS, Reader, reader_of
from probe.errors import UsageError, first_line, nearest
from probe.validation import Strict, describe, parse_yaml

if TYPE_CHECKING:
    ReaderConfig = Reader.Config
else:
    ReaderConfig = READERS.union()

SECTIONS = ("sources", "datasets")


class MissingDataError(UsageError):
    """Data that the user has to bring first."""


class SourceRow(Strict):
    """Where a source's images lie: the first of the folders that has one of the entries."""

    folders: tuple[str, ...]
    """Below the data root, or absolute, in the order tried."""
    holds: tuple[str, ...]
    """Entries, one of which is in the right folder."""

    def roots(self, data_root: Path) -> list[Path]:
        """The folders that have one of the entries, in the order tried."""
        folders = [data_root / folder for folder in self.folders]
        return [folder for folder in folders if any((folder / name).exists() for name in self.holds)]

    def root(self, data_root: Path) -> Path | None:
        """Where the images lie; None where none of the folders has them."""
        return next(iter(self.roots(data_root)), None)

    def expected(self, data_root: Path) -> Path:
        """The root, or where the images have to go."""
        folders = [data_root / folder for folder in self.folders]
        return self.root(data_root) or next((folder for folder in folders if folder.is_dir()), folders[0])


class Count(Strict):
    """A printed count: the images of a split in one role, and their classes."""

    split: Literal["train", "val", "test"]
    role: Literal["train", "query", "index"]
    """An image that is query and index counts in both."""
    images: int
    classes: int | None = None
    domain: str | None = None
    """The one that is counted; None for all."""
    rounded: int = 1
    """To multiples of this."""
    printed: str
    """Where."""

    def measure(self, manifest: Manifest) -> tuple[int, int]:
        """Images and classes of this split, role and domain in a manifest."""
        wanted = (pl.col("split") == self.split) & pl.col("role").is_in([self.role, "both"])
        if self.domain is not None:
            wanted &= pl.col("domain") == self.domain
        rows = manifest.frame.filter(wanted)
        if rows.schema["label"] == LISTS:
            rows = rows.explode("label")
        return rows.select("source", "image").n_unique(), rows.select("domain", "label").n_unique()

    def agrees(self, images: int, classes: int) -> bool:
        """Whether what was measured is what is printed, rounded as it is."""
        pairs = [(self.images, images)] + ([(self.classes, classes)] if self.classes is not None else [])
        return all(abs(printed - measured) * 2 <= self.rounded - (self.rounded == 1) for printed, measured in pairs)


class DatasetRow(Strict):
    """One data set: it joins other rows, or has tables of its own."""

    title: str
    domain: str = ""
    """That of its images, where their places name none."""
    year: int | None = None
    home: str = ""
    """Where to get it."""
    licence: str = ""
    papers: tuple[str, ...] = ()
    note: str = ""
    source: str = ""
    """That of its images, where their paths do not tell."""
    folders: tuple[str, ...] = ()
    """Where the annotation files are looked for, below the data root or absolute; those of the source unless given."""
    parts: tuple[str, ...] = ()
    """The rows that it joins."""
    tables: tuple[ReaderConfig, ...] = ()
    """Its annotation files."""
    instead: tuple[ReaderConfig, ...] = ()
    """The same in another form, for where the tables are absent."""
    counts: tuple[Count, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.parts) == bool(self.tables):
            raise ValueError("a data set has either `tables` or `parts`")
        for table in (*self.tables, *self.instead):
            if not table.places and not (self.source and self.domain):
                raise ValueError(f"the table {table.file[0]} needs `places`, or the data set a `source` and a `domain`")
        return self

    @property
    def sources(self) -> list[str]:
        placed = [place.source for table in (*self.tables, *self.instead) for place in table.places]
        return list(dict.fromkeys(placed + ([self.source] if self.source else [])))


class Catalogue(Strict):
    """The form of datasets.yaml."""

    sources: dict[str, SourceRow]
    datasets: dict[str, DatasetRow]

    @model_validator(mode="after")
    def _linked(self) -> Self:
        for name, row in self.datasets.items():
            for source in row.sources:
                if source not in self.sources:
                    raise ValueError(f"{name}: no source '{source}'; {nearest(source, self.sources)}")
            for part in row.parts:
                if part not in self.datasets:
                    raise ValueError(f"{name}: no data set '{part}'; {nearest(part, self.datasets)}")
        return self


@dataclass(frozen=True)
class Dataset:
    """A row, its name, and the rows that it joins (itself, where it joins none)."""

    name: str
    row: DatasetRow
    catalogue: Catalogue

    @property
    def counts(self) -> tuple[Count, ...]:
        return self.row.counts

    @property
    def parts(self) -> list["Dataset"]:
        names = self.row.parts or (self.name,)
        return [Dataset(name, self.catalogue.datasets[name], self.catalogue) for name in names]

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(source for part in self.parts for source in part.row.sources))

    @property
    def folders(self) -> tuple[str, ...]:
        own = self.row.folders
        return own or tuple(folder for name in self.row.sources for folder in self.catalogue.sources[name].folders)

    def root(self, data_root: Path) -> Path | None:
        """The first folder that holds one of its annotation files; None where none does."""
        for part in self.parts:
            for table in part.tables(data_root):
                for folder in part.folders:
                    if _found(table, data_root / folder):
                        return data_root / folder
        return None

    def missing(self, data_root: Path) -> list[str]:
        """The annotation files that are in none of the folders, by the first path that was tried."""
        return list(
            dict.fromkeys(name for part in self.parts for name in part._absent(part.tables(data_root), data_root))
        )

    def left_out(self, data_root: Path) -> list[str]:
        """The splits of which nothing is there: none of the files that no other split needs. None of a joined row's."""
        if self.row.parts:
            return []
        tables = self.tables(data_root)
        splits = [split for split in SPLITS if any(split in table.splits for table in tables)]
        files = {split: {table.file for table in tables if split in table.splits} for split in splits}
        own = {
            split: files[split].difference(*(files[other] for other in splits if other != split)) for split in splits
        }
        there = {table.file for table in tables if self.file_of(table, data_root)}
        return [split for split in splits if own[split] and not own[split] & there]

    def tables(self, data_root: Path) -> tuple[ReaderConfig, ...]:
        """Its tables; in their other form where only that is there."""
        is_there = [
            any(self.file_of(table, data_root) for table in form) for form in (self.row.tables, self.row.instead)
        ]
        return self.row.instead if is_there == [False, True] else self.row.tables

    def file_of(self, table: ReaderConfig, data_root: Path) -> Path | None:
        found = (_found(table, data_root / folder) for folder in self.folders)
        return next((path for path in found if path is not None), None)

    def image_roots(self, data_root: Path) -> dict[str, Path]:
        """Source -> the folder with its images; where there are none yet, the first that exists, or would be tried."""
        return {name: self.catalogue.sources[name].expected(data_root) for name in self.sources}

    def read(self, data_root: Path) -> Manifest:
        """The manifest of its annotation files; the images need not be there, nor the files of a split as a whole.

        Raises MissingDataError naming the first absent file, UsageError for a file that does not have its format.
        """
        left_out, wanted = self.left_out(data_root), self._wanted(data_root)
        absent = [name for part, table in wanted for name in part._absent((table,), data_root)]
        if absent or not wanted:
            first, *others = dict.fromkeys(absent or self.missing(data_root))
            more = f" and {len(others)} more of its annotation files" if others else ""
            raise MissingDataError(
                f"the data set '{self.name}' is not complete below {data_root}: {first}{more} cannot be found; "
                f"{f'get it from {self.row.home}' if self.row.home else 'name its folder with --data-root'}."
            )
        frames = [part._rows(table, data_root) for part, table in wanted]
        if LISTS in {frame.schema["label"] for frame in frames}:
            frames = [frame.with_columns(as_lists(frame["label"])) for frame in frames]
        without = f" (without {' and '.join(left_out)}: {self.missing(data_root)[0]} is not there)" if left_out else ""
        where = f"the data set '{self.name}'{without}"
        return Manifest(pl.concat(frames), self.image_roots(data_root), where, self.name)

    def is_here(self, data_root: Path) -> bool:
        """Whether it can be read: all of it, or whole splits."""
        wanted = self._wanted(data_root)
        return bool(wanted) and all(part.file_of(table, data_root) for part, table in wanted)

    def _wanted(self, data_root: Path) -> list[tuple["Dataset", ReaderConfig]]:
        """Its tables and those of its parts, without the splits that are left out."""
        left_out = set(self.left_out(data_root))
        return [
            (part, table) for part in self.parts for table in part.tables(data_root) if not table.splits <= left_out
        ]

    def _absent(self, tables: Iterable[ReaderConfig], data_root: Path) -> list[str]:
        folder = "" if self.folders[0] == "." else f"{self.folders[0]}/"
        return [f"{folder}{table.file[0]}" for table in tables if self.file_of(table, data_root) is None]

    def _rows(self, table: ReaderConfig, data_root: Path) -> pl.DataFrame:
        path = self.file_of(table, data_root)
        if path is None:
            raise MissingDataError(f"{table.file[0]} of '{self.name}' has gone from {data_root}; read it again.")
        domain, source = pl.col("domain").fill_null(self.row.domain), pl.col("source").fill_null(self.row.source)
        return reader_of(table).rows(path).with_columns(domain=domain, source=source).select(COLUMNS)


def _found(table: ReaderConfig, folder: Path) -> Path | None:
    """The file of a table in a folder, by the first of its names."""
    paths = (folder / name for name in table.file)
    return next((path for path in paths if (path.is_dir() if table.is_folder else path.is_file())), None)


def all_datasets(datasets: Path | None = None) -> list[Dataset]:
    """Those of the user's file `datasets`, then the bundled ones that it does not replace, each in its file's order."""
    catalogue = _catalogue(datasets)
    return [Dataset(name, row, catalogue) for name, row in catalogue.datasets.items()]


def is_known(name: str, datasets: Path | None = None) -> bool:
    return name in _catalogue(datasets).datasets


def find_dataset(name: str, datasets: Path | None = None) -> Dataset:
    """Raises UsageError with the nearest name for one that is in no catalogue."""
    catalogue = _catalogue(datasets)
    if name not in catalogue.datasets:
        raise UsageError(f"no data set '{name}'; {nearest(name, catalogue.datasets)}")
    return Dataset(name, catalogue.datasets[name], catalogue)


def other_roots(source: str, root: Path, data_root: Path, datasets: Path | None = None) -> list[Path]:
    """The other folders in which images of a source of the catalogue may lie, apart from `root`."""
    row = _catalogue(datasets).sources.get(source)
    return [] if row is None else [other for other in row.roots(data_root) if other.resolve() != root.resolve()]


def read_dataset(name: str, data_root: Path, datasets: Path | None = None) -> Manifest:
    """The manifest of a data set whose annotation files lie below the data root."""
    return find_dataset(name, datasets).read(data_root)


def read_catalogue(content: str, where: str, beside: Catalogue | None = None) -> Catalogue:
    """A catalogue from its text; its rows come before those of `beside`, which they may name or replace.

    Raises UsageError for text that is no catalogue, with the nearest known key.
    """
    try:
        own = parse_yaml(content)
        if beside is not None and isinstance(own, dict):
            own = own | {section: _before(own.get(section), getattr(beside, section)) for section in SECTIONS}
        return Catalogue.model_validate(own)
    except ValidationError as error:
        raise UsageError(f"{where}: {describe(error, Catalogue)}") from error
    except ValueError as error:
        raise UsageError(f"{where} is not YAML: {first_line(error)}.") from error


def _before(own: Any, bundled: dict[str, Any]) -> Any:
    """What is no section is left to validation."""
    rows = {} if own is None else own
    return rows | {name: row for name, row in bundled.items() if name not in rows} if isinstance(rows, dict) else rows


def _catalogue(datasets: Path | None = None) -> Catalogue:
    if datasets is None:
        return _bundled()
    try:
        changed = datasets.stat().st_mtime_ns
    except OSError as error:
        raise UsageError(f"--datasets {datasets} cannot be read: {first_line(error)}.") from error
    return _with_own(datasets, changed)


@cache
def _bundled() -> Catalogue:
    file = files("probe.data") / "datasets.yaml"
    return read_catalogue(file.read_text(encoding="utf-8"), "datasets.yaml")


@cache
def _with_own(datasets: Path, _changed: int) -> Catalogue:
    try:
        content = datasets.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--datasets {datasets} cannot be read: {first_line(error)}.") from error
    catalogue = read_catalogue(content, f"--datasets {datasets}", _bundled())
    if catalogue.datasets == _bundled().datasets:
        raise UsageError(f"--datasets {datasets} has no data set of its own below `datasets:`; see docs/datasets.md.")
    return catalogue
