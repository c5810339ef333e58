"""The feature store against NumPy writing and reading the same bytes, on the disk of the temporary folder, and the
cost of looking up more ids.

make bench BENCH=store
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import compare, timed
from benchmarks.results import Comparison, Cost, Result
from benchmarks.sections import Size
from feature_cache import FeatureStore, Rows, StoreWriter, verify

FULL, SMALL = (200_000, 1152), (2_000, 64)
PART = 50_000
LOOKUPS = (14_000, 140_000, 1_400_000)
PAGE = "store.md#speed"


def measure(size: Size) -> Iterator[Result]:
    """In a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield from against_numpy(Path(folder), *(SMALL if size.small else FULL), size.rounds)
        for ids in LOOKUPS[:1] if size.small else LOOKUPS:
            yield from look_up(Path(folder), ids)


def against_numpy(folder: Path, rows: int, dim: int, rounds: int) -> Iterator[Comparison]:
    rng = np.random.default_rng(0)
    features = np.resize(rng.standard_normal((10_000, dim), np.float32).astype(np.float16), (rows, dim))
    ids = [f"train/{row % 5000:04d}/image_{row:08d}.jpg" for row in range(rows)]
    sizes = np.full((rows, 2), 224, np.int32)
    path, plain = folder / "store.h5", folder / "plain.npy"

    def clear() -> None:
        shutil.rmtree(path.with_name("store.h5.parts"), ignore_errors=True)
        for file in (path, plain):
            file.unlink(missing_ok=True)

    def append(finish: bool) -> None:
        with StoreWriter(path, {"model": "benchmark"}) as writer:
            for start in range(0, rows, PART):
                part = slice(start, start + PART)
                writer.add(Rows(ids[part], features[part], sizes[part]))
            if finish:
                writer.finish()

    def numpy_write() -> None:
        with plain.open("wb") as file:
            np.save(file, features)
            os.fsync(file.fileno())

    some = rng.permutation(rows)[: rows // 2]
    some_ids = [ids[row] for row in some]
    what = f"{rows:,} x {dim} float16"
    told: dict[str, Any] = {"rounds": rounds, "amount": features.nbytes / 1e9, "unit": "GB", "page": PAGE}
    write = "np.save, fsync"
    yield compare(
        f"{what}: append, in parts", lambda: append(False), write, numpy_write, before=clear, target=0.5, **told
    )
    yield compare(f"{what}: append and merge", lambda: append(True), write, numpy_write, before=clear, **told)
    append(True)
    store = FeatureStore(path)
    np.testing.assert_array_equal(store.load(some_ids), np.load(plain)[some])
    read = lambda: np.load(plain)  # noqa: E731
    yield compare(f"{what}: load all", store.load, "np.load", read, target=0.9, **told)
    half: dict[str, Any] = told | {"amount": features.nbytes / 2e9}
    yield compare(
        f"{what}: load a random half", lambda: store.load(some_ids), "np.load, [rows]", lambda: read()[some], **half
    )
    yield compare(f"{what}: verify", lambda: verify(path), "np.load", read, **told)


def look_up(folder: Path, count: int) -> Iterator[Cost]:
    """Opening the store, reading the ids and finding the rows of all of them."""
    ids = [f"train/{row % 5000:04d}/image_{row:08d}.jpg" for row in range(count)]
    path = folder / f"{count}.h5"
    with StoreWriter(path, {"model": "benchmark"}) as writer:
        writer.add(Rows(ids, np.zeros((count, 1), np.float16), np.zeros((count, 2), np.int32)))
        writer.finish()
    shuffled = [ids[row] for row in np.random.default_rng(1).permutation(count)]
    for order, wanted in (("file", ids), ("random", shuffled)):
        seconds = sorted(timed(lambda wanted=wanted: FeatureStore(path).rows_of(wanted)) for _ in range(3))
        yield Cost(axis="ids looked up", side=f"in {order} order", size=count, seconds=seconds[1])
