"""HDF5 files that would be read from elsewhere, or that claim more rows than they hold."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from feature_cache import FeatureStore, Rows, StoreError, StoreWriter, read_foreign
from tests.feature_cache.formats import write_format_1


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.h5"
    with StoreWriter(path, {}) as writer:
        writer.add(Rows(["a", "b"], np.ones((2, 8)), np.zeros((2, 2), np.int32)))
        writer.finish()
    return path


def external_link(file: h5py.File, elsewhere: Path) -> None:
    file["id"] = h5py.ExternalLink(str(elsewhere), "id")


def soft_link(file: h5py.File, elsewhere: Path) -> None:
    file["id"] = h5py.SoftLink("/size")


def virtual(file: h5py.File, elsewhere: Path) -> None:
    layout = h5py.VirtualLayout((2,), "S1")
    layout[:] = h5py.VirtualSource(str(elsewhere), "id", (2,))
    file.create_virtual_dataset("id", layout)


def external_storage(file: h5py.File, elsewhere: Path) -> None:
    file.create_dataset("id", (2,), "S1", external=[(str(elsewhere), 0, 2)])


def more_rows_than_there_are(file: h5py.File, elsewhere: Path) -> None:
    file.create_dataset("id", (1 << 40,), "S1", chunks=(1024,), maxshape=(None,))


def another_type(file: h5py.File, elsewhere: Path) -> None:
    file.create_dataset("id", data=np.arange(2), chunks=(2,))


def a_group(file: h5py.File, elsewhere: Path) -> None:
    file.create_group("id")


HOSTILE = [external_link, soft_link, virtual, external_storage, more_rows_than_there_are, another_type, a_group]


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_column_that_is_not_in_the_file_is_refused(make, store: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.h5"
    with h5py.File(elsewhere, "w") as file:
        file["id"] = np.array([b"x", b"y"])
    with h5py.File(store, "r+") as file:
        del file["id"]
        make(file, elsewhere)
    with pytest.raises(StoreError, match="is damaged"):
        FeatureStore(store)


def test_more_features_than_the_file_could_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_format_1(path, Rows(["a", "b"], np.ones((2, 8), np.float16), np.zeros((2, 2), np.int32)))
    with h5py.File(path, "r+") as file:
        for name in ("features", "id", "size", "content"):
            file[name].resize(1 << 40, axis=0)  # pyright: ignore
        file.attrs["count"] = 1 << 40
    with pytest.raises(StoreError, match="claims more rows than the file could hold"):
        FeatureStore(path)


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_a_heap_of_texts_that_hdf5_would_walk_for_ever_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "clip.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["index"] = np.ones((3, 4), np.float32), np.array(["a", "b", "c"], h5py.string_dtype())
    assert len(read_foreign(path)) == 3
    content = path.read_bytes()
    entry = content.index(b"GCOL") + 16
    while content[entry : entry + 2] != bytes(2):  # the first that is free
        entry += 16 + -(-int.from_bytes(content[entry + 8 : entry + 16], "little") // 8) * 8
    path.write_bytes(content[: entry + 8] + size.to_bytes(8, "little") + content[entry + 16 :])
    with pytest.raises(StoreError, match="heap at byte"):
        read_foreign(path)


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_lengths_of_texts_that_no_memory_holds_are_refused_before_hdf5_clears_that_much(
    chunks: tuple[int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "clip.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((3, 4), np.float32)
        ids = file.create_dataset("index", data=["a", "b", "c"], dtype=h5py.string_dtype(), chunks=chunks)
        at = ids.id.get_offset() if chunks is None else ids.id.get_chunk_info(1).byte_offset
    assert len(read_foreign(path)) == 3
    content = path.read_bytes()
    assert int.from_bytes(content[at : at + 4], "little") == 1
    path.write_bytes(content[:at] + (4_000_000_000).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(StoreError, match="lengths of the texts of /index come to 4,000,000,002 bytes"):
        read_foreign(path)
