"""A plain image folder as a manifest: `<folder>/<class>/<image>`, deeper folders belong to their class.

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
    images = sorted(_images(folder))
    if not images:
        raise UsageError(f"{folder} holds neither a manifest.csv nor images ({', '.join(sorted(SUFFIXES))}).")
    labels = [image.split("/")[0] if "/" in image else folder.name for image in images]
    split_of = _divided(sorted(set(labels)))
    splits = [split_of[label] for label in labels]
    name = folder.resolve().name
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
    found = []
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent) / file
            if path.suffix.lower() in SUFFIXES:
                found.append(unicodedata.normalize("NFC", path.relative_to(folder).as_posix()))
    return found


def _divided(labels: list[str]) -> dict[str, str]:
    shuffled = sorted(labels, key=lambda label: hashlib.sha256(label.encode()).digest())
    train, val = round(len(labels) * TRAIN), round(len(labels) * (TRAIN + VAL))
    return {label: "train" if i < train else "val" if i < val else "test" for i, label in enumerate(shuffled)}
