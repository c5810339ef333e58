"""A data set of Hugging Face's `datasets` as images with ids and labels, and as a folder that everything else reads.

Its columns are known by what they hold: images are in the one of type `Image`, labels in the one of type `ClassLabel`
(by their names), else in `label` or `cls`, ids in `id`, `image_id` or `__key__`, which WebDataset's shards have.
Without an id, an image is called by its position. Bytes are taken as they are, and decoded here as those of all images.

    HuggingFaceRows(dataset).ids
    write_data_set(dataset, data_root)      # <data_root>/beans-1f0c63ab91d2, with its manifest
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import polars as pl

from probe.data.layout import divided, rows_of
from probe.data.manifest import Manifest
from probe.errors import UsageError, first_line, nearest
from probe.progress import say, track
from probe.storage import new_folder

IDS, LABELS = ("id", "image_id", "__key__"), ("label", "cls")
MANIFEST = "manifest.parquet"
OF_SPLIT = {"train": "train", "validation": "val", "val": "val", "dev": "val", "test": "test"}


@runtime_checkable
class HuggingFaceDataset(Protocol):
    """A `datasets.Dataset`, or an `IterableDataset`."""

    def cast_column(self, column: str, feature: Any) -> Any: ...
    def select_columns(self, column_names: str | list[str]) -> Any: ...


HuggingFaceData = HuggingFaceDataset | Mapping[str, HuggingFaceDataset]
"""One, or a `DatasetDict` of them by split."""


def is_hugging_face(given: object) -> TypeGuard[HuggingFaceData]:
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    return bool(values) and all(isinstance(value, HuggingFaceDataset) for value in values)


class HuggingFaceRows:
    """The images of a `datasets.Dataset`, in its order.

    Raises UsageError for columns that are no images, that are not there once, or that leave an image without its own
    id or label, and for a data set that is streamed.
    """

    def __init__(self, dataset: Any, name: str = "the data set") -> None:
        if not hasattr(dataset, "__len__"):
            raise UsageError(f"{name} is streamed, and has no rows to come back to; load it without streaming=True.")
        if not len(dataset):
            raise UsageError(f"{name} has no rows.")
        self.name = name
        self._features: Mapping[str, Any] = dataset.features
        image = self._only("Image")
        if image is None:
            raise UsageError(f"{name} has no column of type Image ({', '.join(self._features)}); cast one to it.")
        plain = dataset.with_format(None)
        self._images = plain.cast_column(image, type(self._features[image])(decode=False)).select_columns([image])
        self._image = image
        self.ids, self.named_by = self._ids(plain)
        self.labels = self._labels(plain)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, row: int) -> bytes:
        """The image file of a row. Raises UsageError where there is none."""
        image = self._images[row][self._image]
        if image is None:
            raise UsageError(f"{self.name} has no image in its row {row}; leave it out with `filter`.")
        if image["bytes"] is not None:
            return image["bytes"]
        try:
            return Path(image["path"]).read_bytes()
        except OSError as error:
            raise UsageError(f"{self.name}: the image of its row {row} is gone ({first_line(error)}).") from error

    def images(self) -> "list[HuggingFaceImage]":
        return [HuggingFaceImage(self, row) for row in range(len(self))]

    def _ids(self, dataset: Any) -> tuple[list[str], str | None]:
        """Of the rows, and the column that they are from."""
        column = next((name for name in IDS if name in self._features), None)
        if column is None:
            return [f"{row:08d}" for row in range(len(dataset))], None
        ids = [str(value) for value in dataset[column]]
        rows: dict[str, int] = {}
        for row, each in enumerate(ids):
            if rows.setdefault(each, row) != row:
                raise UsageError(
                    f"{self.name} has the {column} '{each}' in its rows {rows[each]} and {row}; rename one."
                )
        return ids, column

    def _labels(self, dataset: Any) -> list[str] | None:
        column = self._only("ClassLabel") or next((name for name in LABELS if name in self._features), None)
        if column is None:
            return None
        names = getattr(self._features[column], "names", None)
        labels = []
        for row, value in enumerate(dataset[column]):
            if value is None or (names and value < 0):
                raise UsageError(f"{self.name} has no {column} in its row {row}; leave it out with `filter`.")
            labels.append(names[value] if names else str(value))
        return labels

    def _only(self, kind: str) -> str | None:
        """The column of this type of `datasets`, if any."""
        found = [name for name, feature in self._features.items() if type(feature).__name__ == kind]
        if len(found) > 1:
            raise UsageError(
                f"{self.name} has several columns of type {kind}, {', '.join(found)}; keep one of them with "
                "`select_columns`."
            )
        return found[0] if found else None


@dataclass(frozen=True)
class HuggingFaceImage:
    """One image, not read yet."""

    rows: HuggingFaceRows
    row: int

    @property
    def id(self) -> str:
        return self.rows.ids[self.row]

    def read(self) -> bytes:
        """Its file. Raises UsageError where there is none."""
        return self.rows.read(self.row)


def write_data_set(data: HuggingFaceData, data_root: Path) -> Path:
    """The folder below the data root with its images, as files, and its manifest; one that is there is taken as it is.

    The folder is called after its content. Splits are those of a `DatasetDict`, and ids begin with them; classes of
    one `Dataset` are divided into train, val and test as those of a folder are. Raises UsageError as HuggingFaceRows
    does, and for other splits.
    """
    rows = _rows_of_splits(data) if isinstance(data, Mapping) else {"": HuggingFaceRows(data)}
    folder = data_root / f"{_title(data)}-{_digest(rows)}"
    if (folder / MANIFEST).exists():
        return folder
    manifest = Manifest(_frame(rows, folder.name), where=folder.name)  # whose ids lead nowhere else
    if any(each.named_by is None for each in rows.values()):
        say(f"{folder.name} has no column {' or '.join(IDS)}: its images are called by their positions, from 00000000")
    with new_folder(folder) as temporary:
        with track(f"write {folder.name}", len(manifest.frame), "images") as advance:
            for image, content in _files(rows):
                (temporary / image).parent.mkdir(parents=True, exist_ok=True)
                (temporary / image).write_bytes(content)
                advance(1)
        manifest.write(temporary / MANIFEST)
    say(f"{len(manifest.frame):,} images are in {folder}")
    return folder


def _rows_of_splits(data: Mapping[str, Any]) -> dict[str, HuggingFaceRows]:
    rows: dict[str, HuggingFaceRows] = {}
    for name, dataset in data.items():
        split = OF_SPLIT.get(name)
        if split is None:
            raise UsageError(f"the data set has a split '{name}'; {nearest(name, OF_SPLIT)}")
        if split in rows:
            raise UsageError(f"'{name}' is the second split that means {split}; leave out one of them.")
        rows[split] = HuggingFaceRows(dataset, f"the split '{name}'")
    return rows


def _title(data: HuggingFaceData) -> str:
    first = next(iter(data.values())) if isinstance(data, Mapping) else data
    return getattr(getattr(first, "info", None), "dataset_name", None) or "dataset"


def _files(rows: Mapping[str, HuggingFaceRows]) -> Iterator[tuple[str, bytes]]:
    """Image id and content."""
    for split, each in rows.items():
        yield from ((_image(split, image.id), image.read()) for image in each.images())


def _image(split: str, name: str) -> str:
    return f"{split}/{name}" if split else name


def _digest(rows: Mapping[str, HuggingFaceRows]) -> str:
    """Of all images, ids, labels and splits."""
    digest = hashlib.sha256()
    for split, each in rows.items():
        digest.update("\0".join([split, *each.ids, *(each.labels or ())]).encode())
    for _, content in _files(rows):
        digest.update(hashlib.blake2b(content, digest_size=16).digest())
    return digest.hexdigest()[:12]


def _frame(rows: Mapping[str, HuggingFaceRows], source: str) -> pl.DataFrame:
    """Of a manifest; what has no labels has the name of the whole, as the images of a folder without subfolders."""
    labels = {split: each.labels or [source] * len(each) for split, each in rows.items()}
    if "" in rows:
        return rows_of(divided(dict(zip(rows[""].ids, labels[""], strict=True))), source)
    parts = [
        pl.DataFrame(
            {
                "image": [_image(split, name) for name in each.ids],
                "label": labels[split],
                "split": [split] * len(each),
                "role": ["train" if split == "train" else "both"] * len(each),
            }
        )
        for split, each in rows.items()
    ]
    return pl.concat(parts).with_columns(source=pl.lit(source), domain=pl.lit(source))
