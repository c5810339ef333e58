"""A plain image folder as a manifest: `<folder>/<class>/<image>`, deeper folders belong to their class.

A tar counts as the folder that it lies in, so the images of `<class>/shard.tar` and of `shard.tar/<class>` have that
class; a WebDataset sample's own label (`key.cls`, else `label` in `key.json`) goes before its folder.
Hidden files and folders (`._1.jpg`, `.thumbnails`) are not part of it.

Classes, not images, are divided into train, val and test (60, 15, 25 %), in the order of the SHA-256 of their names,
so the division depends on neither the operating system's listing order nor a seed.

    manifest = image_folder(Path("~/photos/shoes").expanduser())
"""

import hashlib
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from probe.data import tar
from probe.data.manifest import Manifest, image_path
from probe.errors import UsageError

# Of the formats that extraction decodes.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
}
KNOWN = SUFFIXES | {tar.SUFFIX}
TRAIN, VAL = 0.60, 0.15


def image_folder(folder: Path) -> Manifest:
    """Every image below `folder`; its label is its first folder, its domain and source the name of `folder`."""
    folder = folder.resolve()
    return Manifest(divided(_labels(folder), folder.name), {folder.name: folder}, str(folder), folder.name)


def divided(label_of: Mapping[str, str], name: str) -> pl.DataFrame:
    """The rows of a manifest, of image ids and their labels, by id; classes are divided into train, val and test."""
    images = sorted(label_of)
    labels = [label_of[image] for image in images]
    split_of = _divided(sorted(set(labels)))
    splits = [split_of[label] for label in labels]
    return pl.DataFrame(
        {
            "image": images,
            "source": [name] * len(images),
            "label": labels,
            "domain": [name] * len(images),
            "split": splits,
            "role": ["train" if split == "train" else "both" for split in splits],
        }
    )


def image_files(folder: Path) -> list[str]:
    """The loose images below a folder, in no order."""
    return [file for file in _files(folder) if _is_one_of(file, SUFFIXES)]


def image_ids(folder: Path) -> list[str]:
    """The images below a folder, sorted, those in tars as `shard.tar/name`. Raises UsageError where there are none."""
    return sorted(_labels(folder))


def shard_ids(shard: Path) -> list[str]:
    """The images in a tar, sorted, as `shard.tar/name`. Raises UsageError where there are none."""
    found = sorted(_labels_inside(shard.parent, shard.name))
    if not found:
        raise UsageError(f"{shard} holds no images ({', '.join(sorted(SUFFIXES))}).")
    return found


def _labels(folder: Path) -> dict[str, str]:
    """Image id -> label. Raises UsageError where there are no images."""
    found = {}
    for file in _files(folder):
        found |= _labels_inside(folder, file) if _is_one_of(file, {tar.SUFFIX}) else {file: _label(file, folder)}
    if not found:
        raise UsageError(
            f"{folder} holds neither a manifest.csv nor images ({', '.join(sorted(SUFFIXES))}), loose or in .tar files."
        )
    return found


def _label(place: str, folder: Path) -> str:
    return place.split("/")[0] if "/" in place else folder.name


def _labels_inside(folder: Path, shard: str) -> dict[str, str]:
    """Image id -> label, of the images in a tar."""
    path = image_path(folder, shard)
    own = tar.labels(path)
    around = shard.rpartition("/")[0]  # the tar itself is no class
    found = {}
    for name in tar.members(path):
        if _is_one_of(name, SUFFIXES):
            place = f"{around}/{name}".lstrip("/")
            found[_utf8(f"{shard}/{name}", folder)] = own.get(tar.sample_key(name)) or _label(place, folder)
    return found


def _files(folder: Path) -> list[str]:
    """Images and tars."""
    found, seen = [], set()
    for parent, subfolders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        seen.add(os.path.realpath(parent))
        subfolders[:] = [
            name for name in subfolders if name[0] != "." and os.path.realpath(Path(parent, name)) not in seen
        ]
        found += [Path(parent, file).relative_to(folder).as_posix() for file in files if _is_one_of(file, KNOWN)]
    return [unicodedata.normalize("NFC", _utf8(file, folder)) for file in found]


def _is_one_of(file: str, suffixes: set[str]) -> bool:
    return Path(file).suffix.lower() in suffixes and not Path(file).name.startswith(".")


def _refuse(error: OSError) -> None:
    raise UsageError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _utf8(image: str, folder: Path) -> str:
    try:
        image.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{folder} has a file whose name is not UTF-8, {image!a}; rename it.") from error
    return image


def _divided(labels: list[str]) -> dict[str, str]:
    shuffled = sorted(labels, key=lambda label: hashlib.sha256(label.encode()).digest())
    train, val = round(len(labels) * TRAIN), round(len(labels) * (TRAIN + VAL))
    return {label: "train" if i < train else "val" if i < val else "test" for i, label in enumerate(shuffled)}
