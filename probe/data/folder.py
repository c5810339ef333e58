"""A plain image folder as a manifest: `<folder>/<class>/<image>`, deeper folders belong to their class; where the first
folders are splits, `<folder>/<split>/<class>/<image>` (layout.py).

A tar counts as the folder that it lies in, so the images of `<class>/shard.tar` and of `shard.tar/<class>` have that
class; a WebDataset sample's own label (`key.cls`, else `label` in `key.json`) goes before its folder.
Hidden files and folders (`._1.jpg`, `.thumbnails`) are not part of it; of other files it is said how many of which kind
are passed over. Symbolic links are followed, also out of the folder, which is said.

    manifest = image_folder(Path("~/photos/shoes").expanduser())
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from probe.data import tar
from probe.data.layout import read_layout, rows_of
from probe.data.manifest import Manifest, image_path
from probe.errors import UsageError
from probe.progress import say

# Of the formats that extraction decodes.
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
}
KNOWN = IMAGE_SUFFIXES | {tar.SUFFIX}
LABELS = (".cls", ".json")  # of WebDataset samples
KIND = re.compile(r"\.[a-z0-9_]{1,8}")
KINDS_SHOWN = 10


@dataclass(frozen=True)
class _Content:
    places: dict[str, str] = field(default_factory=dict)
    """Image id -> its path, in which no tar is a folder."""
    shards: list[str] = field(default_factory=list)
    """The tars."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Kind of file -> how many there are."""
    links: int = 0
    """How many were followed."""


def image_folder(folder: Path, to_fit: bool = True) -> Manifest:
    """Every image below `folder`; domain and source are the name of `folder`. Says what is passed over, and how the
    folders are read where that is not plain; `to_fit`: what a fit needs that it has not, too.

    Raises UsageError where there are no images, and for folders that can be read in several ways.
    """
    folder = folder.resolve()
    content = _content(folder)
    layout = read_layout(folder, content.places, _own_labels(folder, content))
    for remark in (*_remarks(folder, content), layout.remark, layout.advice if to_fit else None):
        if remark:
            say(remark)
    name = folder.name
    return Manifest(rows_of(layout.cells, name), {name: folder}, str(folder), name)


def image_files(folder: Path) -> list[str]:
    """The loose images below a folder, in no order."""
    return [file for file in _files(folder)[0] if _is_one_of(file, IMAGE_SUFFIXES)]


def image_ids(folder: Path) -> list[str]:
    """The images below a folder, sorted, those in tars as `shard.tar/name`; says what is passed over and that links are
    followed. Raises UsageError where there are none."""
    content = _content(folder)
    for remark in _remarks(folder, content):
        say(remark)
    return sorted(content.places)


def shard_ids(shard: Path) -> list[str]:
    """The images in a tar, sorted, as `shard.tar/name`. Raises UsageError where there are none."""
    content = _Content()
    _add_tar(content, shard.parent, shard.name)
    if not content.places:
        raise UsageError(f"{shard} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return sorted(content.places)


def _content(folder: Path) -> _Content:
    """Raises UsageError where there are no images."""
    files, links = _files(folder)
    content = _Content(links=links.followed)
    content.passed_over.update({"linked to nothing": links.dangling} if links.dangling else {})
    for file in files:
        if _is_one_of(file, {tar.SUFFIX}):
            _add_tar(content, folder, file)
        elif _is_one_of(file, IMAGE_SUFFIXES):
            content.places[file] = file
        else:
            content.passed_over[_kind(file)] += 1
    if not content.places:
        raise UsageError(
            f"{folder} holds neither a manifest.csv nor images ({', '.join(sorted(IMAGE_SUFFIXES))}), loose or in .tar "
            "files" + (f", only {_counted(content.passed_over)}." if content.passed_over else ".")
        )
    return content


def _add_tar(content: _Content, folder: Path, shard: str) -> None:
    content.shards.append(shard)
    around = shard.rpartition("/")[0]  # the tar itself is no class
    for name in tar.members(image_path(folder, shard)):
        if _is_one_of(name, IMAGE_SUFFIXES):
            content.places[_named(f"{shard}/{name}", folder)] = f"{around}/{name}".lstrip("/")
        elif not name.endswith(LABELS) and not _is_hidden(name):
            content.passed_over[_kind(name)] += 1


def _own_labels(folder: Path, content: _Content) -> dict[str, str]:
    """Image id -> label, of the images in tars that have one beside them."""
    found = {}
    for shard in content.shards:
        path = image_path(folder, shard)
        own = tar.labels(path)
        for name in tar.members(path):
            if (image := f"{shard}/{name}") in content.places and (label := own.get(tar.sample_key(name))):
                found[image] = label
    return found


def _remarks(folder: Path, content: _Content) -> Iterator[str]:
    if content.passed_over:
        yield f"{folder}: passed over, as no images: {_counted(content.passed_over)}"
    if content.links:
        yield f"{folder}: {content.links:,} symbolic link(s) in it are followed, wherever they lead"


def _counted(kinds: Counter[str]) -> str:
    """`3 .heic, 1 .svg`, the most frequent first."""
    ranked = sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    counted = [f"{count:,} {kind}" for kind, count in ranked[:KINDS_SHOWN]]
    others = sum(count for _, count in ranked[KINDS_SHOWN:])
    return ", ".join(counted + ([f"{others:,} of other kinds"] if others else []))


def _kind(file: str) -> str:
    suffix = Path(file).suffix.lower()
    if KIND.fullmatch(suffix):
        return suffix
    return "with a dot at the end" if file.endswith(".") else "without a suffix"


@dataclass
class _Links:
    """Symbolic links."""

    followed: int = 0
    dangling: int = 0


def _files(folder: Path) -> tuple[list[str], _Links]:
    """All that are not hidden, in no order. Links are followed, but those that lead nowhere, or to a folder that
    they lie in. Raises UsageError for two whose names are one in NFC."""
    found, links, root = [], _Links(), os.path.realpath(folder)
    todo = [("", root, frozenset({root}))]
    while todo:
        place, real, above = todo.pop()
        entries = [entry for entry in _entries(Path(folder, place)) if entry.name[0] != "."]
        _require_one_form([entry.name for entry in entries], Path(folder, place))
        for entry in entries:
            linked, name = entry.is_symlink(), f"{place}{entry.name}"
            if linked and not os.path.exists(entry.path):  # noqa: PTH110 (a link to itself is none either)
                links.dangling += 1
                continue
            if entry.is_dir():
                below = os.path.realpath(entry.path) if linked else f"{real}/{entry.name}"
                if below in above:
                    continue
                todo.append((f"{name}/", below, above | {below}))
            else:
                found.append(name)
            links.followed += linked
    named = (_named(file, folder) if _is_one_of(file, KNOWN) else file for file in found)
    return [unicodedata.normalize("NFC", file) for file in named], links


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _require_one_form(names: list[str], parent: Path) -> None:
    forms: dict[str, str] = {}
    for name in names:
        if not name.isascii() and (other := forms.setdefault(unicodedata.normalize("NFC", name), name)) != name:
            raise UsageError(
                f"{parent}: {other!a} and {name!a}, which differ in Unicode's form alone, become one id; rename one."
            )


def _is_one_of(file: str, suffixes: set[str]) -> bool:
    return Path(file).suffix.lower() in suffixes and not _is_hidden(file)


def _is_hidden(file: str) -> bool:
    return Path(file).name.startswith(".")


def _named(image: str, folder: Path) -> str:
    """The name, if it can be an id. Raises UsageError for one that is not UTF-8, or has a backslash."""
    if "\\" in image:
        raise UsageError(f"{folder} has a file with a backslash in its name, {image!r}; rename it.")
    try:
        image.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{folder} has a file whose name is not UTF-8, {image!a}; rename it.") from error
    return image
