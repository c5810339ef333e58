"""Where features are: in memory where they fit, else read in blocks, with the same rows either way."""

import numpy as np
import pytest
import torch

from probe.extract.features import CachedFeatures
from probe.fit import FitData, SplitRows, fit
from probe.fit import data as placement
from probe.fit.samplers import Order, uniform
from tests.fit.world import CLASSES, CPU, DIM, IMAGES, PLENTY, linear

ROW = DIM * 4
TRAIN, VAL = (CLASSES[split] * IMAGES * ROW for split in ("train", "val"))
NOTHING = {"device": 0, "host": 0}


def places(data: FitData) -> list[str]:
    return [rows.place for rows in (data.train, data.val, data.test)]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (1 << 30, ["device", "device", "device"]),
        (TRAIN + VAL, ["device", "device", "store"]),
        (TRAIN, ["device", "store", "store"]),
        (TRAIN - 1, ["store", "device", "device"]),
        (0, ["store", "store", "store"]),
    ],
)
def test_each_split_is_in_memory_where_it_fits_the_training_split_first(
    host: int, expected: list[str], cached: CachedFeatures
) -> None:
    data = FitData(cached, CPU, {"device": 0, "host": host})
    assert places(data) == expected
    assert (data.window is None) == (expected[0] != "store")
    assert ("shuffled in windows" in data.why) == (expected[0] == "store")


def test_the_rows_that_are_read_are_the_rows_that_are_held(cached: CachedFeatures) -> None:
    frame = cached.frame("train").sort("source", "image")
    held, read = (SplitRows(cached, frame, place, CPU) for place in ("device", "store"))
    rows = np.random.default_rng(0).permutation(len(held))[:50]
    assert torch.equal(held.take(rows), read.take(rows))
    for (where, block), (there, same) in zip(held.blocks(240), read.blocks(240), strict=True):
        assert torch.equal(where, there)
        assert torch.equal(block, same)
    for size in (16, 17, 1000):
        for (where, batch), (there, same) in zip(held.batches(rows, size), read.batches(rows, size), strict=True):
            assert torch.equal(where, there)
            assert torch.equal(batch, same)


def test_training_from_the_store_in_one_window_gives_the_bits_of_training_in_memory(cached: CachedFeatures) -> None:
    whole, read = (fit(linear(epochs=2), FitData(cached, CPU, budget)) for budget in (PLENTY, NOTHING))
    assert read.history == whole.history
    assert read.per_query["merged"].equals(whole.per_query["merged"])
    assert torch.equal(read.head.state_dict()["weight"], whole.head.state_dict()["weight"])
    assert whole.scores.shuffled == "all"
    assert (read.scores.shuffled or "").startswith("windows of")


def test_training_in_windows_sees_every_row_once_an_epoch_and_is_the_same_each_time(
    cached: CachedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "WINDOW_BYTES", 48 * ROW)
    monkeypatch.setattr(uniform, "Order", lambda *args: Order(*args, block=8))
    seen: list[int] = []
    batches = SplitRows.batches

    def counted(self: SplitRows, order: np.ndarray, batch: int):
        for rows, features in batches(self, order, batch):
            seen.extend(rows.tolist())
            yield rows, features

    monkeypatch.setattr(SplitRows, "batches", counted)
    first, again = (fit(linear(epochs=2), FitData(cached, CPU, NOTHING)) for _ in range(2))
    total = CLASSES["train"] * IMAGES
    for start in range(0, 4 * total, total):
        assert sorted(seen[start : start + total]) == list(range(total))
    assert first.history == again.history
    assert first.history != fit(linear(epochs=2), FitData(cached, CPU, PLENTY)).history
    assert first.history[1].loss < first.history[0].loss


def test_neither_the_manifests_nor_the_stores_order_of_training_rows_matters(cached: CachedFeatures) -> None:
    frame = cached.frame("train")
    assert FitData(cached, CPU, PLENTY).train.frame.equals(frame.sort("source", "image"))
