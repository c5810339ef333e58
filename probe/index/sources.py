"""What is added to an index: folders, data sets with a manifest, loose files; and what of them is there now.

An image's id in an index is `source/path`, the path as it is below the source's folder. Loose files have no source:
their ids are their paths from the root of the file system.

    listing = list_source("~/photos/shoes", data_root)
    listing.record.roots, listing.frame      # {"shoes": "/home/me/photos/shoes"}; id, source, label, domain
"""

import glob
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from probe.data import (
    MANIFESTS,
    SAMPLE,
    Manifest,
    has_image,
    image_folder,
    is_known,
    resolve_data,
)
from probe.embed import named_images
from probe.errors import UsageError
from probe.index.manifest import SourceRecord

STDIN = "-"
LOOSE = ""  # the source of loose files
SEVERAL = " | "  # between what the rows of one image say


@dataclass(frozen=True)
class Listing:
    """A source as it is now."""

    record: SourceRecord
    frame: pl.DataFrame
    """A row an image: `id`, `source`, and what is known of it, as text."""


def list_source(word: str, data_root: Path) -> Listing:
    """What a word on the command line means: a known data set, a folder, a manifest, a file, a tar, a pattern, or `-`
    for a list of files on standard input. Raises UsageError for what is not there.
    """
    path = Path(word).expanduser()
    if word == SAMPLE or is_known(word):
        return _data(word, data_root)
    if path.is_dir():
        path = path.resolve()
        return _data(str(path), data_root) if any((path / name).exists() for name in MANIFESTS) else _folder(path)
    if path.suffix in (".csv", ".parquet") and path.is_file():
        return _data(str(path.resolve()), data_root)
    if word == STDIN or path.exists() or glob.has_magic(word) or "/" in word:
        return _files([str(Path(image.name).absolute()) for image in named_images([word])])
    return _data(word, data_root)


def list_again(record: SourceRecord, ids: list[str], data_root: Path) -> Listing:
    """The source as it is now; `ids`: those that the index has of it.

    Raises UsageError where its folder is gone: a disk that is not mounted is no reason to forget what lay on it.
    """
    if record.kind == "files":
        return _files([image for image in ids if has_image(Path("/"), image[1:])])
    for name, root in record.roots.items():
        if not Path(root).is_dir():
            raise UsageError(
                f"the source '{name}' was in {root}, which is not there; bring it back, or take it out of the "
                f"index: `probe index remove INDEX --source {name}`."
            )
    listing = _folder(Path(record.named)) if record.kind == "folder" else _data(record.named, data_root)
    return Listing(record, listing.frame) if listing.record.roots == record.roots else listing


def place_of(image: str, source: str | None, roots: dict[str, Path]) -> tuple[Path, str]:
    """The folder and the path below it of an image of an index. Raises UsageError for a source without a folder."""
    if source is None or source not in roots:
        raise UsageError(f"'{image}' has no image file: its vector was added without one.")
    return roots[source], image[len(source) + 1 :]


def _folder(path: Path) -> Listing:
    manifest = image_folder(path, to_fit=False)
    record = SourceRecord(kind="folder", named=str(path), roots={path.name: str(path)})
    return Listing(record, _with_ids(manifest.frame.select("image", "source", "label", "domain")))


def _data(named: str, data_root: Path) -> Listing:
    manifest = resolve_data(named, data_root)
    record = SourceRecord(kind="data", named=named, roots=_roots(manifest))
    return Listing(record, _with_ids(manifest.frame))


def _files(paths: list[str]) -> Listing:
    record = SourceRecord(kind="files", named="", roots={LOOSE: "/"})
    return Listing(record, pl.DataFrame({"id": paths, "source": [LOOSE] * len(paths)}, orient="col").unique("id"))


def _roots(manifest: Manifest) -> dict[str, str]:
    missing = [source for source in manifest.sources if source not in manifest.roots]
    if missing:
        raise UsageError(f"{manifest.where} does not say where the images of '{missing[0]}' lie; name their folder.")
    return {source: str(root.resolve()) for source, root in manifest.roots.items()}


def _with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """One row an image, and in it everything that its rows say."""
    if isinstance(frame.schema["label"], pl.List):
        frame = frame.explode("label")
    said = [pl.col(name).unique(maintain_order=True).str.join(SEVERAL) for name in frame.columns[2:]]
    images = frame.group_by("source", "image", maintain_order=True).agg(said)
    return images.select(pl.format("{}/{}", "source", "image").alias("id"), pl.all().exclude("image"))
