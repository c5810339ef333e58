"""How large a data set is: from its manifest where that is here, else from the counts that its publishers print.

size_of_manifest(manifest).training(None)      # (328_400, 34_800): images and classes
printed_size("uned").images(["val", "test"])   # printed_size is None for a data set without printed counts
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from probe.data import SPLITS, Count, Manifest, find_dataset, is_known


class SearchSize(NamedTuple):
    queries: int
    index: int


class TrainingSize(NamedTuple):
    images: int
    classes: int


@dataclass(frozen=True)
class DataSize:
    """What a run of the data costs depends on these."""

    train: dict[str, TrainingSize]
    """By domain; under the empty name where only the whole is known."""
    val: SearchSize
    test: SearchSize

    def training(self, domain: str | None) -> TrainingSize | None:
        """Of a domain, or of all domains; None where it is not known."""
        if domain is not None:
            return self.train.get(domain)
        return TrainingSize(*map(sum, zip(*self.train.values(), strict=True))) if self.train else None

    def images(self, splits: Collection[str]) -> int:
        """Of these splits together, if no two share images and queries are part of the index."""
        training = sum(images for images, _ in self.train.values())
        of_split = {"train": training, "val": max(self.val), "test": max(self.test)}
        return sum(of_split[split] for split in splits)


def size_of_manifest(manifest: Manifest) -> DataSize:
    frame = manifest.frame
    classes = pl.col("label").n_unique().alias("classes")
    rows = frame.filter(pl.col("split") == "train").group_by("domain").agg(pl.len().alias("images"), classes)
    train = {domain: TrainingSize(images, found) for domain, images, found in rows.sort("domain").iter_rows()}
    return DataSize(train, _search(frame, "val"), _search(frame, "test"))


def images_of(manifest: Manifest, splits: Collection[str]) -> dict[str, pl.DataFrame]:
    """The images of these splits by source, each once, in a column `image`."""
    images = manifest.frame.filter(pl.col("split").is_in(splits)).select("source", "image").unique()
    parts = images.partition_by("source", as_dict=True, include_key=False)
    return {str(source): part for (source,), part in parts.items()}


def _search(frame: pl.DataFrame, split: str) -> SearchSize:
    rows = frame.filter(pl.col("split") == split)
    return SearchSize(*(rows.filter(pl.col("role").is_in([role, "both"])).height for role in ("query", "index")))


def printed_size(data: str, datasets: Path | None = None) -> DataSize | None:
    """By the printed counts of the data set, or of its parts; None where there are none."""
    if not is_known(data, datasets):
        return None
    dataset = find_dataset(data, datasets)
    counts = [(part.row.domain, count) for part in dataset.parts for count in part.counts]
    train = {
        count.domain or domain: TrainingSize(count.images, count.classes or 0)
        for domain, count in counts
        if count.role == "train" and (count.domain or domain)
    }
    whole = [count for count in dataset.counts if count.domain is None]
    val, test = (SearchSize(_count(whole, split, "query"), _count(whole, split, "index")) for split in ("val", "test"))
    if not train and (images := _count(whole, "train", "train")):
        train = {"": TrainingSize(images, next(count.classes or 0 for count in whole if count.role == "train"))}
    size = DataSize(train, val, test)
    return size if size.images(SPLITS) else None


def _count(counts: list[Count], split: str, role: str) -> int:
    return next((count.images for count in counts if (count.split, count.role) == (split, role)), 0)
