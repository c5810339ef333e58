"""The feature store against NumPy writing and reading the same bytes, on the disk of the temporary folder.

python -m benchmarks.store --rows 200000 --dim 1152
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.pairs import compare, report
from feature_cache import FeatureStore, Rows, StoreWriter, verify

PART = 50_000
LOOKUPS = 1_400_000


def main() -> None:
    """Measures in a folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=1152)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.rows, options.dim, options.rounds)


def measure(folder: Path, rows: int, dim: int, rounds: int) -> None:
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
    write = "np.save, fsync"
    done = [
        compare("append, in parts", lambda: append(False), write, numpy_write, rounds=rounds, target=0.5, before=clear),
        compare("append and merge", lambda: append(True), write, numpy_write, rounds=rounds, before=clear),
    ]
    append(True)
    store = FeatureStore(path)
    np.testing.assert_array_equal(store.load(some_ids), np.load(plain)[some])
    read = lambda: np.load(plain)  # noqa: E731
    done += [
        compare("load all", store.load, "np.load", read, rounds=rounds, target=0.7),
        compare(
            "load a random half", lambda: store.load(some_ids), "np.load, [rows]", lambda: read()[some], rounds=rounds
        ),
        compare("verify", lambda: verify(path), "np.load", read, rounds=rounds),
    ]
    report(f"{rows:,} x {dim} float16, {features.nbytes / 1e9:.2f} GB", done)
    look_up(folder)


def look_up(folder: Path) -> None:
    """1.4 million ids: opening the store, reading the ids and finding the rows of all of them."""
    ids = [f"train/{row % 5000:04d}/image_{row:08d}.jpg" for row in range(LOOKUPS)]
    with StoreWriter(folder / "ids.h5", {"model": "benchmark"}) as writer:
        writer.add(Rows(ids, np.zeros((LOOKUPS, 1), np.float16), np.zeros((LOOKUPS, 2), np.int32)))
        writer.finish()
    shuffled = [ids[row] for row in np.random.default_rng(1).permutation(LOOKUPS)]
    for order, wanted in (("file", ids), ("random", shuffled)):
        seconds = sorted(timed(lambda wanted=wanted: FeatureStore(folder / "ids.h5").rows_of(wanted)) for _ in range(5))
        print(
            f"rows of {LOOKUPS:,} ids in {order} order, from opening the store: "
            f"{seconds[2]:.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f})"
        )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
