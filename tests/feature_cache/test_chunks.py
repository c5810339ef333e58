"""The chunks that are read and written past HDF5 are HDF5's, checksum included."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_cache import FeatureStore, Rows, StoreError, StoreWriter
from feature_cache.fletcher import COLUMNS, Fletcher32
from tests.conftest import examples, slow


def hdf5s(words: np.ndarray) -> int:
    """The checksum that HDF5 itself writes behind a chunk of these 16-bit words."""
    with h5py.File(io.BytesIO(), "w") as file:
        data = file.create_dataset("x", data=words, chunks=words.shape, fletcher32=True)
        file.flush()
        return int.from_bytes(data.id.read_direct_chunk((0,))[1][-4:], "little")


def plain(words: np.ndarray) -> int:
    """The definition, word by word, high byte first."""
    first = second = 0
    for word in words.byteswap().tolist():
        first, second = (first + word) % 65535, second + (first + word)
    fold = lambda value: value % 65535 or (65535 if value else 0)  # noqa: E731
    return fold(second) << 16 | fold(first)


@examples(60, 600)
@given(
    words=st.integers(1, 9 * 4 * COLUMNS),
    kind=st.sampled_from(["any", "zero", "ones", "small", "half"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_checksum_is_hdf5s(words: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chunk = {
        "any": rng.integers(0, 65536, words).astype(np.uint16),
        "zero": np.zeros(words, np.uint16),
        "ones": np.full(words, 65535, np.uint16),
        "small": rng.integers(0, 2, words).astype(np.uint16),
        "half": rng.standard_normal(words).astype(np.float16).view(np.uint16),
    }[kind]
    assert Fletcher32(2 * words)(chunk.view(np.uint8)) == hdf5s(chunk)


def test_hdf5s_checksum_is_the_definition() -> None:
    words = np.random.default_rng(0).integers(0, 65536, 1000).astype(np.uint16)
    words[:3] = 65535
    assert hdf5s(words[:1]) == Fletcher32(2)(words[:1].view(np.uint8))
    assert plain(words[3:]) == hdf5s(words[3:])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [1, 64, slow(5), slow(1000), slow(300_001)])
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


def test_rows_that_hdf5_wrote_without_a_checksum_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store.h5", {}) as writer:
        writer.add(Rows(["a", "b"], np.ones((2, 8)), np.zeros((2, 2), np.int32)))
        writer.finish()
    with h5py.File(tmp_path / "store.h5", "r+") as file:
        chunk = file["features"].id  # pyright: ignore
        chunk.write_direct_chunk((0, 0), chunk.read_direct_chunk((0, 0))[1][:-4], filter_mask=1)
    with pytest.raises(StoreError, match=r"damaged .*row 0"):
        FeatureStore(tmp_path / "store.h5").load()
