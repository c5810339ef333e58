"""Where a split's features are while heads are fitted: on the device, in the machine's memory, or still in the store.

The training split takes its place first, then validation, then test, each where it fits; the budget is a share of the
free memory (probe/memory.py). What is in the store is read in blocks, again each time.

    data = FitData(features, torch.device("cpu"), budget={"device": 0, "host": 10 << 30})
    data.train.take(rows)                   # (n, D) on the device, as stored
    for rows, block in data.test.blocks():  # all rows, some thousand at a time
        ...
"""

from collections.abc import Callable, Iterator
from copy import copy
from itertools import accumulate

import numpy as np
import polars as pl
import torch

from probe.errors import UsageError
from probe.extract import CachedFeatures
from probe.fit.domains import require_specialist
from probe.metrics import domains_with_something_to_find

BLOCK_ROWS = 16384
WINDOW_BYTES = 1 << 30  # of training features shuffled together where they do not fit; fixed, so that bits are
SPLITS = ("train", "val", "test")
FEW = 4  # times as many images as dimensions: all others have enough that differ


class SplitRows:
    """The manifest's rows of one split, in `order`, and access to their features. `place`: device, host or store."""

    def __init__(self, features: CachedFeatures, frame: pl.DataFrame, place: str, device: torch.device) -> None:
        self.frame, self.place, self.device = frame, place, device
        self.dim = features.dim
        self._source = features
        self._features: torch.Tensor | None = None  # (N, D)
        self._places: torch.Tensor | None = None  # (n,) rows of `_features` where these rows are only some of them
        if place != "store" and len(frame):
            loaded = torch.from_numpy(features.load(frame))
            self._features = loaded.to(device) if place == "device" else loaded

    def __len__(self) -> int:
        return len(self.frame)

    def of_domain(self, domain: str) -> "SplitRows":
        """The rows of one domain, over the same features in memory."""
        return self.at((self.frame["domain"] == domain).arg_true().to_numpy().astype(np.int64))

    def at(self, rows: np.ndarray) -> "SplitRows":
        """These of the rows, in this order, over the same features in memory."""
        part = copy(self)
        part.frame = self.frame[rows]
        if self._features is not None:
            chosen = torch.from_numpy(rows).to(self._features.device)
            part._places = chosen if self._places is None else self._places[chosen]
        return part

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """(n, D) features of these rows, in their order, on the device, as they are stored."""
        if self._features is None:
            return torch.from_numpy(self._source.load(self.frame[rows])).to(self.device)
        return sent(self._held(self._features, sent(torch.from_numpy(rows), self._features.device)), self.device)

    def _held(self, features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return features[rows if self._places is None else self._places[rows]]

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All rows once: (n,) positions on the device and (n, D) features. From a store, in its likely order."""
        if self._features is None:
            order = self.frame.select(pl.struct("source", "image").arg_sort()).to_series().to_numpy().astype(np.int64)
        else:
            order = np.arange(len(self))
        for start in range(0, len(self), rows):
            part = order[start : start + rows]
            whole = self._features if self._places is None else None
            block = self.take(part) if whole is None else whole[start : start + rows].to(self.device)
            yield torch.from_numpy(part).to(self.device), block

    def batches(self, order: np.ndarray, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The rows of `order` in batches, the last one short: (B,) rows and (B, D) features, both on the device."""
        if self._features is not None and self.place == "device":
            for rows in sent(torch.from_numpy(order), self.device).split(batch):
                yield rows, self._held(self._features, rows)
            return
        row_bytes = self._source.row_bytes
        at_once = batch if self._features is not None else max(1, WINDOW_BYTES // (row_bytes * batch)) * batch
        for start in range(0, len(order), at_once):
            read = order[start : start + at_once]
            features = self.take(read)
            rows = sent(torch.from_numpy(read), self.device)
            yield from zip(rows.split(batch), features.split(batch), strict=True)


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device. To a GPU by way of page-locked memory, so that nothing waits for it to arrive."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def spanned_dimensions(asked: int, images: int, features: Callable[[], torch.Tensor]) -> int:
    """As many dimensions as are asked for, or fewer where the images span fewer about their mean: one less than differ.

    `features`: theirs, (images, D), which are read where there are so few images that copies among them count.
    """
    if images > FEW * asked:
        return asked
    rows = features()
    return min(asked, len(torch.unique(rows, dim=0)) - 1, rows.shape[1])


class FitData:
    """The splits of some features, each in its place, and the training classes. A split that is not read has no rows.

    Training rows are sorted by source and image, so that neither the manifest's nor the store's order matters.
    `labels` (N,) and `class_sizes` (C,) int64, on the device; a class is a label within its domain. `domains`: of the
    training rows, sorted; their classes follow each other: `classes_of_domain` are how many each has, `first_classes`
    the first ones. `window`: training rows that are shuffled together where they are read from the store; None where
    all are. Raises UsageError for validation or test queries that have nothing to find.
    """

    def __init__(self, features: CachedFeatures, device: torch.device, budget: dict[str, int]) -> None:
        self.features, self.device = features, device
        frames = _frames(features)
        for name in set(features.splits) - {"train"}:
            _require_something_to_find(frames[name], name, features)
        frames["train"] = frames["train"].sort("source", "image")
        places = _places(frames, features.row_bytes, device, budget)
        self.why = _reason(frames, places, features.row_bytes, device, budget)
        self.train, self.val, self.test = (SplitRows(features, frames[n], places[n], device) for n in SPLITS)
        self._number_classes()
        self.window = _window(places, features.row_bytes)

    def of_domain(self, domain: str | None) -> "FitData":
        """Training and validation of one domain over the same features in memory, with the whole test split; itself
        for None. Raises UsageError for a domain that has no training images, or nothing to find in validation."""
        if domain is None:
            return self
        findable = domains_with_something_to_find(self.val.frame) if len(self.val) else None
        require_specialist(domain, self.domains, findable)
        part = copy(self)
        part.train, part.val = self.train.of_domain(domain), self.val.of_domain(domain)
        part._number_classes()
        return part

    @property
    def classes(self) -> int:
        """Of the training images."""
        return len(self.class_sizes)

    def fold(self, held_out: np.ndarray) -> "FitData":
        """Of the training images alone: those where `held_out` (N,) is true are validated on, among each other, and the
        others trained on."""
        part = copy(self)
        part.train, part.val = (self.train.at(np.flatnonzero(rows)) for rows in (~held_out, held_out))
        part.val.frame = part.val.frame.with_columns(pl.lit("both").alias("role"))
        part._number_classes()
        return part

    def rows_of_domain(self) -> list[np.ndarray]:
        """The training rows of each domain, ascending."""
        names = self.train.frame["domain"]
        return [(names == name).arg_true().to_numpy().astype(np.int64) for name in self.domains]

    def sizes_of_domains(self) -> dict[str, int]:
        """Training images by domain, in the order of `domains`."""
        return {name: len(rows) for name, rows in zip(self.domains, self.rows_of_domain(), strict=True)}

    def _number_classes(self) -> None:
        rank = pl.struct("domain", "label").rank("dense") - 1
        classes = self.train.frame.select("domain", rank.cast(pl.Int64).alias("class"))
        self.labels = torch.from_numpy(classes["class"].to_numpy().copy()).to(self.device)
        self.class_sizes = torch.bincount(self.labels)
        counts = classes.group_by("domain").agg(pl.col("class").n_unique()).sort("domain")
        self.domains: list[str] = counts["domain"].to_list()
        self.classes_of_domain: list[int] = counts["class"].to_list()
        self.first_classes = [0, *accumulate(self.classes_of_domain[:-1])]


def shuffle_window(features: CachedFeatures, device: torch.device, budget: dict[str, int]) -> int | None:
    """What FitData's would be, before anything is loaded."""
    return _window(_places(_frames(features), features.row_bytes, device, budget), features.row_bytes)


def shuffling(window: int | None) -> str:
    """How training rows are shuffled, in words."""
    return "all rows shuffled together" if window is None else f"rows shuffled in windows of {window:,}"


def _frames(features: CachedFeatures) -> dict[str, pl.DataFrame]:
    """By split; empty for one that is not read."""
    empty = features.manifest.frame.clear()
    return {name: features.frame(name) if name in features.splits else empty for name in SPLITS}


def _window(places: dict[str, str], row_bytes: int) -> int | None:
    return WINDOW_BYTES // row_bytes if places["train"] == "store" else None


def _require_something_to_find(frame: pl.DataFrame, split: str, features: CachedFeatures) -> None:
    if not domains_with_something_to_find(frame):
        raise UsageError(
            f"{features.manifest.where}: no query of the split '{split}' has another image of its class to find in the "
            "index; give it queries and index images of the same classes."
        )


def _places(
    frames: dict[str, pl.DataFrame], row_bytes: int, device: torch.device, budget: dict[str, int]
) -> dict[str, str]:
    """The first of device and host in whose budget each split fits, else the store."""
    left, places = dict(budget), {}
    for name, frame in frames.items():
        size = len(frame) * row_bytes
        candidates = ["host"] if device.type == "cpu" else ["device", "host"]
        place = next((each for each in candidates if size <= left[each]), "store")
        if place != "store":
            left[place] -= size
        places[name] = "device" if place == "host" and device.type == "cpu" else place
    return places


def _reason(
    frames: dict[str, pl.DataFrame],
    places: dict[str, str],
    row_bytes: int,
    device: torch.device,
    budget: dict[str, int],
) -> str:
    """The choice and its reason as one line."""
    machine = "the machine's memory"
    where = {
        "device": machine if device.type == "cpu" else f"{device.type} memory",
        "host": machine,
        "store": "the store",
    }
    sizes = {name: f"{len(frame) * row_bytes / 1e6:,.0f} MB" for name, frame in frames.items() if len(frame)}
    if len(set(places.values())) == 1:
        parts = f"all in {where[places['test']]} ({', '.join(f'{name} {size}' for name, size in sizes.items())})"
    else:
        parts = ", ".join(f"{name} ({size}) in {where[places[name]]}" for name, size in sizes.items())
    limits = [f"{left / 1e6:,.0f} MB of {name}" for name, left in _limits(device, budget, machine).items()]
    warning = "; training rows are shuffled in windows, not as a whole" if places["train"] == "store" else ""
    return f"features: {parts}; they may take {' and '.join(limits)}{warning}"


def _limits(device: torch.device, budget: dict[str, int], machine: str) -> dict[str, int]:
    of_device = {} if device.type == "cpu" else {f"{device.type} memory": budget["device"]}
    return of_device | {machine: budget["host"]}
