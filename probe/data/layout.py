"""What the first folders of a collection of images are: its classes, or its splits, in which the classes lie.

They are splits where several of them are called like splits (`train/boot/1.jpg`, `gallery/pump/2.jpg`), or the only one
is. Else they are classes, and classes, not images, are divided into train, val and test (60, 15, 25 %), in the order of
the SHA-256 of their names, so the division depends on neither the operating system's listing order nor a seed.

    read_layout(folder, {"boot/1.jpg": "boot/1.jpg"}, {}).cells["boot/1.jpg"].split
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from probe.errors import UsageError

TRAIN, VAL = 0.60, 0.15
CLASSES_OF_A_FIT = 4  # from which each split gets one
TRAINING, QUERIES, INDEX = ("train", "train"), ("test", "query"), ("test", "index")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAINING),
    **dict.fromkeys(("val", "valid", "validation"), ("val", "both")),
    **dict.fromkeys(("test", "testing"), ("test", "both")),
    **dict.fromkeys(("query", "queries"), QUERIES),
    **dict.fromkeys(("gallery", "index", "database"), INDEX),
}  # name of a folder -> split and role


class Cell(NamedTuple):
    """What a folder says of an image."""

    label: str
    split: str
    role: str


@dataclass(frozen=True)
class Layout:
    cells: dict[str, Cell]
    """By image."""
    remark: str | None
    """What has to be known of it, as one line."""
    advice: str | None = None
    """What a fit would need beside, likewise."""


def read_layout(folder: Path, places: Mapping[str, str], labels: Mapping[str, str]) -> Layout:
    """`places`: image id -> its path, in which no tar is a folder; `labels`: those that images have of their own.

    Raises UsageError for images that lie in no class below folders called like splits, and for a class that has a blank
    at an end of its name.
    """
    first = {place.split("/")[0] for place in places.values() if "/" in place}
    splits = sorted((name for name in first if name.casefold() in SPLIT_FOLDERS), key=_order)
    within = {image: place for image, place in places.items() if place.split("/")[0] in splits and "/" in place}
    loose = sorted(image for image, place in within.items() if place.count("/") == 1 and image not in labels)
    is_alone = len(within) == len(places)
    if len(splits) > 1 and loose:
        raise UsageError(
            f"{folder}: its folders {', '.join(splits)} are called like splits, and {loose[0]} lies in no class below; "
            f"put it into a folder of its class, name one folder alone ({folder / splits[0]}), or write a manifest."
        )
    if splits and not loose and (is_alone or len(splits) > 1):
        layout = _by_splits(folder, within, labels, splits, len(places) - len(within))
    else:
        layout = _by_classes(folder, places, labels)
    padded = sorted(cell.label for cell in layout.cells.values() if cell.label != cell.label.strip())
    if padded:
        raise UsageError(f"{folder}: the class {padded[0]!a} has a blank at an end of its name; rename it.")
    return layout


def _by_splits(
    folder: Path, places: Mapping[str, str], labels: Mapping[str, str], splits: list[str], others: int
) -> Layout:
    cells, said = {}, []
    for name in splits:
        split, role = SPLIT_FOLDERS[name.casefold()]
        own = {image: place.split("/") for image, place in places.items() if place.startswith(f"{name}/")}
        of_split = {image: labels.get(image) or parts[1] for image, parts in own.items()}
        cells |= {image: Cell(label, split, role) for image, label in of_split.items()}
        of = {"query": "the queries of ", "index": "the index of "}.get(role, "")
        said.append(f"{name}/ is {of}{split} ({_classes(len(set(of_split.values())))})")
    remark = f"{folder} is read as splits, by the names of its folders: {', '.join(said)}"
    if others:
        remark += f"; {others:,} image(s) elsewhere in it are passed over"
    if all(cell.split == "train" for cell in cells.values()):
        remark += "; there is nothing to score on: name its folder alone to have its classes divided"
    return Layout(cells, remark)


def _order(folder: str) -> tuple[int, str]:
    return list(SPLIT_FOLDERS).index(folder.casefold()), folder


def _by_classes(folder: Path, places: Mapping[str, str], labels: Mapping[str, str]) -> Layout:
    label_of = {
        image: labels.get(image) or (place.split("/")[0] if "/" in place else folder.name)
        for image, place in places.items()
    }
    cells = divided(label_of)
    split_of = {cell.label: cell.split for cell in cells.values()}
    classes = sorted(split_of)
    if len(classes) >= CLASSES_OF_A_FIT:
        return Layout(cells, _loose(folder, places, labels))
    counts = [f"{list(split_of.values()).count(split) or 'none'} for {split}" for split in ("train", "val", "test")]
    return Layout(
        cells,
        None,
        f"{folder} has {_classes(len(classes))} ({', '.join(classes)}): {', '.join(counts)}. To fit and score a head "
        f"needs at least {CLASSES_OF_A_FIT}, each a folder, or a manifest that says the splits; features need none.",
    )


def _loose(folder: Path, places: Mapping[str, str], labels: Mapping[str, str]) -> str | None:
    """Of images beside the folders of classes."""
    loose = sorted(image for image, place in places.items() if "/" not in place and image not in labels)
    if not loose or len(loose) == len(places):
        return None
    return (
        f"{folder}: {len(loose):,} image(s) beside the folders of the classes, such as {loose[0]}, are the class "
        f"'{folder.name}'"
    )


def _classes(count: int) -> str:
    return "one class" if count == 1 else f"{count:,} classes"


def divided(label_of: Mapping[str, str]) -> dict[str, Cell]:
    """The cell of each image; `label_of`: image -> class."""
    shuffled = sorted(set(label_of.values()), key=lambda label: hashlib.sha256(label.encode()).digest())
    train, val = round(len(shuffled) * TRAIN), round(len(shuffled) * (TRAIN + VAL))
    split_of = {label: "train" if i < train else "val" if i < val else "test" for i, label in enumerate(shuffled)}
    return {
        image: Cell(label, split_of[label], "train" if split_of[label] == "train" else "both")
        for image, label in label_of.items()
    }


def rows_of(cells: Mapping[str, Cell], name: str) -> pl.DataFrame:
    """The rows of a manifest, by image; `name`: of the source and of the domain."""
    images = sorted(cells)
    return pl.DataFrame(
        {
            "image": images,
            "source": [name] * len(images),
            "label": [cells[image].label for image in images],
            "domain": [name] * len(images),
            "split": [cells[image].split for image in images],
            "role": [cells[image].role for image in images],
        }
    )
