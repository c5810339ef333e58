"""A plain image folder as a manifest: `<folder>/<class>/<image>`, deeper folders belong to their class.

Hidden files and folders (`._1.jpg`, `.thumbnails`) are not part of it.

Classes, not images, are divided into train, val and test (60, 15, 25 %), in the order of the SHA-256 of their names,
so the division depends on neither the operating system's listing order nor a seed.

    manifest = image_folder(Path("~/photos/shoes").expanduser())
"""

import hashlib
import os
import unicodedata
from pathlib import Path

import polars as pl

from probe.data.manifest import Manifest
from probe.errors import UsageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
TRAIN, VAL = 0.60, 0.15


def image_folder(folder: Path) -> Manifest:
    """Every image below `folder`; its label is its first folder, its domain and source the name of `folder`."""
    folder = folder.resolve()
    images = sorted(_images(folder))
    if not images:
        raise UsageError(f"{folder} holds neither a manifest.csv nor images ({', '.join(sorted(SUFFIXES))}).")
    labels = [image.split("/")[0] if "/" in image else folder.name for image in images]
    split_of = _divided(sorted(set(labels)))
    splits = [split_of[label] for label in labels]
    name = folder.name
    frame = pl.DataFrame(
        {
            "image": images,
            "source": [name] * len(images),
            "label": labels,
            "domain": [name] * len(images),
            "split": splits,
            "role": ["train" if split == "train" else "both" for split in splits],
        }
    )
    return Manifest(frame, {name: folder}, str(folder))


def _images(folder: Path) -> list[str]:
    found, seen = [], set()
    for parent, subfolders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        seen.add(os.path.realpath(parent))
        subfolders[:] = [
            name for name in subfolders if name[0] != "." and os.path.realpath(Path(parent, name)) not in seen
        ]
        found += [Path(parent, file).relative_to(folder).as_posix() for file in files if _is_image(file)]
    return [unicodedata.normalize("NFC", _utf8(image, folder)) for image in found]


def _is_image(file: str) -> bool:
    return Path(file).suffix.lower() in SUFFIXES and not file.startswith(".")


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
