"""The chunks that are read and written past HDF5 are HDF5's."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from feature_cache import FeatureStore, Rows, StoreError, StoreWriter
from tests.conftest import quick
from tests.feature_cache.formats import reseal


@pytest.mark.parametrize("dtype", quick(["float16", "float32"]))
@pytest.mark.parametrize("dim", quick([64, 1, 5, 1000, 300_001]))
def test_hdf5_and_the_store_read_the_same_rows(tmp_path: Path, dim: int, dtype: str) -> None:
    count = max(3, 700_000 // dim)
    features = np.random.default_rng(0).standard_normal((count, dim)).astype(dtype)
    ids = [str(row) for row in range(count)]
    with StoreWriter(tmp_path / "store.h5", {}, dtype=dtype) as writer:
        for start in range(0, count, 401):  # parts that divide no chunk
            part = features[start : start + 401]
            writer.add(Rows(ids[start : start + 401], part, np.zeros((len(part), 2), np.int32)))
            if start > 2000:
                break
        writer.finish()
    store = FeatureStore(tmp_path / "store.h5")
    expected = features[: len(store)]
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["features"][:], expected)  # pyright: ignore
    np.testing.assert_array_equal(store.load(), expected)
    rows = np.random.default_rng(1).integers(0, len(store), 50)
    np.testing.assert_array_equal(store.load([ids[row] for row in rows]), expected[rows])
    for step in (1, 7, 1000):
        blocks = [block.features for block in store.blocks(step * max(1, len(store) // 50))]
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_features_that_another_program_compressed_are_refused_and_not_taken_for_numbers(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store.h5", {}) as writer:
        writer.add(Rows(["a", "b"], np.ones((2, 8)), np.zeros((2, 2), np.int32)))
        writer.finish()
    with h5py.File(tmp_path / "store.h5", "r+") as file:
        features = file["features"][:]  # pyright: ignore
        del file["features"]
        file.create_dataset("features", data=features, chunks=(2, 8), compression="gzip")
    reseal(tmp_path / "store.h5")
    with pytest.raises(StoreError, match=r"damaged .*row 0"):
        FeatureStore(tmp_path / "store.h5").load()
