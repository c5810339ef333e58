"""A manifest: one row an image, with its label, domain, split and role; validated before any work starts.

Columns: `image` (posix path relative to the source's root, NFC), `source`, `label`, `domain`, `split`
(train|val|test), `role` (train|query|index|both). No row is ever dropped: a bad one is an error that names it.

    manifest = read_manifest(Path("pocket/manifest.csv"))
    manifest.split("test").height
"""

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from probe.data.escape import escaped
from probe.errors import UsageError, first_line, nearest

COLUMNS = ("image", "source", "label", "domain", "split", "role")
SPLITS = ("train", "val", "test")
ROLES = ("train", "query", "index", "both")


@dataclass(frozen=True)
class Manifest:
    """A validated frame with the columns above, and the folder in which each source's images lie.

    Raises UsageError for a frame that breaks the contract; `where` names the file in the message.
    """

    frame: pl.DataFrame
    roots: dict[str, Path] = field(default_factory=dict)
    where: str = "the manifest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _validated(self.frame, self.where))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows in order, the length of every field included; the same for CSV and Parquet."""
        digest = hashlib.sha256()
        for column in self.frame:
            digest.update(column.str.len_bytes().to_numpy().astype("<u4").tobytes())
            digest.update("".join(column).encode())
        return digest.hexdigest()

    @property
    def sources(self) -> list[str]:
        return self.frame["source"].unique().sort().to_list()

    @property
    def domains(self) -> list[str]:
        return self.frame["domain"].unique().sort().to_list()

    def images(self, source: str) -> list[str]:
        """The distinct images of one source, sorted."""
        return self.frame.filter(pl.col("source") == source)["image"].unique().sort().to_list()

    def split(self, name: str) -> pl.DataFrame:
        return self.frame.filter(pl.col("split") == name)


def read_manifest(path: Path, roots: dict[str, Path] | None = None) -> Manifest:
    """The manifest in a .csv or .parquet file.

    Images lie in the file's folder, or in one subfolder for each source where there are several sources; `roots`
    overrides that, source by source.
    """
    try:
        is_parquet = path.suffix == ".parquet"
        frame = pl.read_parquet(path) if is_parquet else pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} cannot be read as a manifest: {first_line(error)}.") from error
    manifest = Manifest(frame, where=str(path))
    sources = manifest.sources
    unknown = sorted((roots or {}).keys() - set(sources))
    if unknown:
        raise UsageError(f"{path} has no source '{unknown[0]}'; {nearest(unknown[0], sources)}")
    folders = {source: path.parent if len(sources) == 1 else path.parent / source for source in sources}
    manifest.roots.update(folders | (roots or {}))
    return manifest


def image_path(root: Path, image: str) -> Path:
    """Where an image lies: under its id, or decomposed, as some file systems store it, or as unzip escapes it."""
    path = root / image
    if not image.isascii() and not path.exists():
        decomposed = root / unicodedata.normalize("NFD", image)
        return decomposed if decomposed.exists() else root / escaped(image)
    return path


def _validated(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    for column in COLUMNS:
        if column not in frame.columns:
            raise UsageError(f"{where} lacks the column '{column}'; it needs {', '.join(COLUMNS)}.")
    for column in frame.columns:
        if column not in COLUMNS:
            raise UsageError(f"{where} has an unknown column '{column}'; {nearest(column, COLUMNS)}")
    for column, kind in frame.schema.items():
        if kind != pl.String:
            raise UsageError(f"{where}: column '{column}' holds {kind}, not strings; convert it.")
    if frame.is_empty():
        raise UsageError(f"{where} has no rows.")
    frame = frame.with_columns(pl.col("image").str.normalize("NFC"))
    _refuse(frame, pl.any_horizontal(pl.col(COLUMNS).is_null() | (pl.col(COLUMNS) == "")), where, "an empty field")
    escapes = r"\\|(^|/)\.{0,2}(/|$)"  # a backslash, or a component that is empty, . or ..
    leads_out = pl.col("image").str.contains(escapes)
    _refuse(frame, leads_out, where, "an image path that is not relative to the source's root")
    _refuse(frame, pl.col("source").str.contains(escapes), where, "a source that is not the name of a folder")
    _refuse(frame, ~pl.col("split").is_in(SPLITS), where, f"a split other than {', '.join(SPLITS)}")
    _refuse(frame, ~pl.col("role").is_in(ROLES), where, f"a role other than {', '.join(ROLES)}")
    in_training = pl.col("split") == "train"
    _refuse(frame, in_training != (pl.col("role") == "train"), where, "a role that does not fit its split")
    twice = pl.struct("image", "source", "label", "split").is_duplicated()
    _refuse(frame, twice, where, "the same image, label and split twice")
    return frame.select(COLUMNS).rechunk()


def _refuse(frame: pl.DataFrame, bad: pl.Expr, where: str, what: str) -> None:
    rows = frame.with_row_index("row").filter(bad)
    if not rows.is_empty():
        first = rows.row(0, named=True)
        raise UsageError(
            f"{where} has {what} in {rows.height:,} row(s), the first in row {first['row'] + 1} "
            f"(image '{first['image']}', label '{first['label']}', split '{first['split']}'); correct the file."
        )
