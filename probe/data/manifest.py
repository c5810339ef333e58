"""A manifest: one row an image, with its label, domain, split and role; validated before any work starts.

Columns: `image` (posix path relative to the source's root), `source`, `label`, `domain`, `split` (train|val|test),
`role` (train|query|index|both); images, labels and domains in NFC. A class is a label in a domain. Only a row of role
`query` may have several labels; `label` then holds a list in every row. No row is ever dropped: a bad one is an error
that names it.

    manifest = read_manifest(Path("pocket/manifest.csv"))
    manifest.split("test").height
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import xor
from pathlib import Path
from typing import Self

import polars as pl

from feature_cache import StoreError, read_parquet, require_regular
from probe.data.csv_file import read_csv
from probe.data.escape import on_disk
from probe.data.labels import LISTS, from_text, plainest, to_text
from probe.errors import UsageError, nearest
from probe.storage import replacing_file

COLUMNS = ("image", "source", "label", "domain", "split", "role")
SPLITS = ("train", "val", "test")
ROLES = ("train", "query", "index", "both")
ORIGIN = "curation.json"  # beside a curated manifest, whose folder holds no images
BLOCK = 1 << 16  # rows whose text is one string at a time


class CurationError(UsageError):
    """A curated manifest without a curation.json that describes it."""


@dataclass(frozen=True)
class Manifest:
    """A validated frame with the columns above, and the folder in which each source's images lie.

    Raises UsageError for a frame that breaks the contract; `where` names the file in the message.
    """

    frame: pl.DataFrame
    roots: dict[str, Path] = field(default_factory=dict)
    where: str = "the manifest"
    name: str = ""
    """What files about it are called after; empty where it was made in memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _validated(self.frame, self.where))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rows in order, the length of every field included; the same for CSV and Parquet."""
        digest = hashlib.sha256()
        for column in self.frame:
            if column.dtype == LISTS:
                digest.update(b"lists" + column.list.len().to_numpy().astype("<u4").tobytes())
                column = column.explode()
            digest.update(column.str.len_bytes().to_numpy().astype("<u4").tobytes())
            for start in range(0, len(column), BLOCK):
                digest.update(column[start : start + BLOCK].str.join().item().encode())
        return digest.hexdigest()

    @property
    def sources(self) -> list[str]:
        return self.frame["source"].unique().sort().to_list()

    @cached_property
    def splits(self) -> list[str]:
        """Those of which there are rows: train, val, test."""
        held = self.frame["split"].unique()
        return [split for split in SPLITS if split in held]

    @property
    def domains(self) -> list[str]:
        return self.frame["domain"].unique().sort().to_list()

    @property
    def has_several_labels(self) -> bool:
        """Whether any row has, so that `label` holds lists."""
        return self.frame.schema["label"] == LISTS

    def images(self, source: str) -> list[str]:
        """The distinct images of one source, sorted."""
        return self.frame.filter(pl.col("source") == source)["image"].unique().sort().to_list()

    def split(self, name: str) -> pl.DataFrame:
        """The rows of a split; its labels are strings where none of these rows has several."""
        rows = self.frame.filter(pl.col("split") == name)
        return rows.with_columns(plainest(rows["label"]))

    def where_rows(self, keep: pl.Expr | pl.Series) -> Self:
        """The rows for which `keep` holds, which are as valid as all of them. Raises UsageError when none is left."""
        rows = self.frame.filter(keep)
        if rows.is_empty():
            raise UsageError(f"nothing is left of {self.where}; ask for less.")
        selected = object.__new__(type(self))
        selected.__dict__.update(
            frame=rows.with_columns(plainest(rows["label"])),
            roots={source: self.roots[source] for source in rows["source"].unique() if source in self.roots},
            where=self.where,
            name=self.name,
        )
        return selected

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Writes a .csv or .parquet file; it appears whole or not at all.

        Raises UsageError for another suffix, and for a file that is there already unless told to overwrite it.
        """
        if path.suffix not in (".csv", ".parquet"):
            raise UsageError(f"{path}: a manifest is a .csv or .parquet file; name one.")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists already; move it away or ask for it to be overwritten.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            if path.suffix == ".parquet":
                self.frame.write_parquet(temporary)
            else:
                self.frame.with_columns(to_text(self.frame["label"])).write_csv(temporary)


def read_manifest(path: Path, roots: dict[str, Path] | None = None, data_root: Path | None = None) -> Manifest:
    """The manifest in a .csv or .parquet file.

    Images lie in the file's folder, or in one subfolder for each source where there are several sources; what has no
    subfolder lies below `data_root` where that is given. Those of a curated manifest lie where its curation.json says.
    `roots` overrides all of it, source by source. In a CSV file, several labels are a JSON array of strings.

    Raises CurationError for a curated manifest that its curation.json does not describe.
    """
    require_regular(path)
    try:
        frame = read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
    except (StoreError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a manifest: {str(error).rstrip('.')}.") from error
    if path.suffix != ".parquet" and "label" in frame.columns:
        frame = frame.with_columns(from_text(frame["label"], str(path)))
    name = path.stem if path.stem != "manifest" else path.absolute().parent.name
    manifest = Manifest(frame, where=str(path), name=name)
    sources = manifest.sources
    unknown = sorted((roots or {}).keys() - set(sources))
    if unknown:
        raise UsageError(f"{path} has no source '{unknown[0]}'; {nearest(unknown[0], sources)}")
    manifest.roots.update(_folders(manifest, path.parent, data_root) | (roots or {}))
    return manifest


def image_path(root: Path, image: str) -> Path:
    """Where an image lies: under its id, or under another form of that name, as file systems and unzip write it."""
    path = root / image
    return path if image.isascii() or path.exists() else on_disk(root, image)


def _folders(manifest: Manifest, home: Path, data_root: Path | None) -> dict[str, Path]:
    """Where each source's images lie, as far as the manifest's own folder tells."""
    origin, sources = home / ORIGIN, manifest.sources
    if len(sources) == 1 and not origin.exists():
        return {sources[0]: home}
    recorded = _recorded_roots(origin, manifest) if origin.exists() else {}
    folders = {source: home / source for source in sources}
    if data_root is not None:
        elsewhere = [source for source in sources if source in recorded or not folders[source].is_dir()]
        folders |= {source: data_root / recorded.get(source, source) for source in elsewhere}
    return folders


def _recorded_roots(origin: Path, manifest: Manifest) -> dict[str, str]:
    """Source -> folder, below the data root where it is not absolute."""
    try:
        content = json.loads(origin.read_bytes())
        roots = {source: str(Path(root)) for source, root in content["roots"].items()}
        digest = content["report"]["digest"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CurationError(f"{origin} does not say where images lie; curate again, or delete it.") from error
    if digest != manifest.digest:
        raise CurationError(f"{manifest.where} is not the manifest that {origin} describes; curate again.")
    return roots


def _validated(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    _require_columns(frame, where)
    frame = _composed(frame.select(COLUMNS), where)
    frame = frame.with_columns(plainest(frame["label"]))
    _require_labels(frame, where)
    empty = pl.any_horizontal(pl.col(pl.String).is_null() | (pl.col(pl.String) == ""))
    _refuse(frame, empty, where, "an empty field")
    for column in ("label", "domain"):
        _refuse(frame, _has_blank_at_an_end(frame[column]), where, f"a {column} with a blank at an end")
    escapes = r"\\|(^|/)\.{0,2}(/|$)"  # a backslash, or a component that is empty, . or ..
    leads_out = pl.col("image").str.contains(escapes)
    _refuse(frame, leads_out, where, "an image path that is not relative to the source's root")
    _refuse(frame, pl.col("source").str.contains(escapes), where, "a source that is not the name of a folder")
    _refuse(frame, ~pl.col("split").is_in(SPLITS), where, f"a split other than {', '.join(SPLITS)}")
    _refuse(frame, ~pl.col("role").is_in(ROLES), where, f"a role other than {', '.join(ROLES)}")
    in_training = pl.col("split") == "train"
    _refuse(frame, in_training != (pl.col("role") == "train"), where, "a role that does not fit its split")
    _refuse(frame, repeated(frame), where, "the same image, label and split twice")
    return frame


def _require_columns(frame: pl.DataFrame, where: str) -> None:
    for column in COLUMNS:
        if column not in frame.columns:
            raise UsageError(f"{where} lacks the column '{column}'; it needs {', '.join(COLUMNS)}.")
    for column in frame.columns:
        if column not in COLUMNS:
            raise UsageError(f"{where} has an unknown column '{column}'; {nearest(column, COLUMNS)}")
    for column, kind in frame.schema.items():
        if kind != pl.String and not (column == "label" and kind == LISTS):
            raise UsageError(f"{where}: column '{column}' holds {kind}, not strings; convert it.")
    if frame.is_empty():
        raise UsageError(f"{where} has no rows.")


def _composed(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Image ids, labels and domains in NFC, and ids without `./` in front."""
    frame = frame.with_columns(pl.col("image").str.strip_prefix("./"))
    composed = frame.with_columns(_nfc(frame[column]) for column in ("image", "label", "domain"))
    _require_no_new_copies(frame, composed, where)
    return composed


def _nfc(values: pl.Series) -> pl.Series:
    """Of strings, or of lists of strings; ASCII is it already."""
    texts = values.explode() if values.dtype == LISTS else values
    if (texts.str.len_bytes() == texts.str.len_chars()).all():
        return values
    if values.dtype == LISTS:
        return values.to_frame().select(pl.all().list.eval(pl.element().str.normalize("NFC"))).to_series()
    return values.str.normalize("NFC")


def _has_blank_at_an_end(values: pl.Series) -> pl.Series:
    if values.dtype == LISTS:
        padded = pl.all().list.eval(pl.element() != pl.element().str.strip_chars())
        return values.to_frame().select(padded.list.any()).to_series()
    return values != values.str.strip_chars()


def _require_no_new_copies(frame: pl.DataFrame, composed: pl.DataFrame, where: str) -> None:
    """Raises UsageError for two images that have one id only since these are in NFC."""
    changed = composed["image"] != frame["image"]
    if not changed.any():
        return
    spellings = frame.select("source", "image", id=composed["image"]).unique()
    twice = spellings.filter(pl.struct("source", "id").is_duplicated()).sort("source", "id", "image")
    if not twice.is_empty():
        first, second = twice["image"][:2]
        raise UsageError(
            f"{where} has two images that become one id, {first!a} and {second!a}, as they differ in Unicode's form "
            "alone; rename one, or write both alike."
        )


def _require_labels(frame: pl.DataFrame, where: str) -> None:
    if frame.schema["label"] != LISTS:
        return
    labels = pl.col("label").list
    any_empty = labels.eval(pl.element().is_null() | (pl.element() == "")).list.any()
    _refuse(frame, pl.col("label").is_null() | (labels.len() == 0) | any_empty, where, "an empty field")
    _refuse(frame, labels.n_unique() < labels.len(), where, "a label twice in one list")
    several = (labels.len() > 1) & (pl.col("role") != "query")
    _refuse(frame, several, where, "several labels for an image that is not a query only")


def repeated(frame: pl.DataFrame) -> pl.Series:
    """Rows that share image, source, label and split with another. Hashes tell first whether there can be any."""
    key = frame.select("image", "source", to_text(frame["label"]), "split")
    hashes = [column.hash(seed) for seed, column in enumerate(key)]
    if reduce(xor, hashes).n_unique() == len(key):
        return pl.repeat(False, len(key), eager=True)
    return key.is_duplicated()


def _refuse(frame: pl.DataFrame, bad: pl.Expr | pl.Series, where: str, what: str) -> None:
    rows = frame.select(bad.alias("bad")).to_series()
    if rows.any():
        row = rows.arg_max() or 0
        first = frame.row(row, named=True)
        raise UsageError(
            f"{where} has {what} in {rows.sum():,} row(s), the first in row {row + 1} "
            f"(image '{first['image']}', label '{first['label']}', split '{first['split']}', role '{first['role']}'); "
            "correct the file."
        )
