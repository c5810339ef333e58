"""What passes HDF5's checksums and no digest: holes of zeros, chunks that changed places, another file's columns."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import feature_cache.new_file
from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter, repair, verify
from feature_cache.digests import COLUMNS, chunk_digest
from tests.conftest import quick
from tests.feature_cache.formats import write_format_1

N, DIM = 5_000, 6
FAILED = [Failure(f"broken/{i}.jpg", f"truncated at byte {i}") for i in range(2_000)]


def rows(seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((N, DIM)).astype(np.float16)
    sizes, contents = rng.integers(1, 4000, (N, 2), np.int32), rng.integers(1, 1 << 63, N, np.uint64)
    return Rows([f"{i:05d}-{seed}.jpg" for i in range(N)], features, sizes, contents)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With several chunks in every column."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache.new_file, "CHUNK_BYTES", 1 << 12)
        path = tmp_path_factory.mktemp("whole") / "store.h5"
        with StoreWriter(path, {"model": "tiny"}) as writer:
            writer.add(rows(), FAILED)
            writer.finish()
        yield path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "store.h5"))


def chunks(path: Path, name: str) -> list[tuple[int, int]]:
    """Where those of a column lie: offset and bytes."""
    with h5py.File(path) as file:
        data = file[name]
        assert isinstance(data, h5py.Dataset)
        if data.chunks is None:
            return [(data.id.get_offset(), data.id.get_storage_size())]
        infos = [data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks())]
    return [(info.byte_offset, info.size) for info in sorted(infos, key=lambda info: info.chunk_offset)]


def read(path: Path) -> tuple:
    found = FeatureStore(path)
    return found.ids, found.load().tobytes(), found.sizes.tobytes(), found.contents.tobytes(), found.failed


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("fill", quick([b"\0", b"\xff"]), ids=["zeros", "ones"])
@pytest.mark.parametrize("column", [*COLUMNS, *(f"{name}_digest" for name in COLUMNS)])
def test_a_hole_over_a_whole_chunk_is_an_error_and_not_values(store: Path, column: str, fill: bytes) -> None:
    offset, size = chunks(store, column)[-1]
    overwrite(store, offset, fill * size)
    with pytest.raises(StoreError, match="damaged"):
        read(store)


@pytest.mark.parametrize("column", ["features", "size", "content"])
def test_two_chunks_that_changed_places_are_an_error(store: Path, column: str) -> None:
    (first, size), (second, same) = chunks(store, column)[:2]
    assert size == same
    content = store.read_bytes()
    overwrite(store, first, content[second : second + size])
    overwrite(store, second, content[first : first + size])
    with pytest.raises(StoreError, match="damaged"):
        read(store)
    assert verify(store).bad.any()


def test_a_hole_of_any_size_anywhere_is_harmless_or_an_error(store: Path) -> None:
    content, right = store.read_bytes(), read(store)
    rng = np.random.default_rng(0)
    wrong = 0
    for size in rng.integers(1, 1 << 15, 60).tolist():
        start = int(rng.integers(len(content) - size))
        overwrite(store, start, bytes(size))
        try:
            assert read(store) == right
        except StoreError:
            wrong += 1
        store.write_bytes(content)
    assert wrong > 50


def test_repair_takes_out_a_hole_and_nothing_else(store: Path) -> None:
    offset, size = chunks(store, "features")[2]
    overwrite(store, offset, bytes(size))
    step = size // (2 * DIM)
    repair(store)
    expected = rows()
    kept = [i for i in range(N) if not 2 * step <= i < 3 * step]
    found = FeatureStore(store)
    assert found.ids == [expected.ids[i] for i in kept]
    np.testing.assert_array_equal(found.load(), expected.features[kept])


def test_the_digest_is_of_the_column_the_place_and_the_content() -> None:
    chunk = bytes(range(99))
    found = chunk_digest("features", 0, chunk)
    others = [("size", 0, chunk), ("features", 4, chunk), ("features", 0, chunk[::-1]), ("features", 0, chunk[:98])]
    assert found not in {chunk_digest(*other) for other in others}
    assert 0 not in {chunk_digest(name, 0, bytes(64)) for name in COLUMNS}


def test_columns_of_another_store_of_the_same_shape_are_an_error(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with StoreWriter(other, {"model": "tiny"}) as writer:
        writer.add(rows(1), FAILED)
        writer.finish()
    with h5py.File(other) as source, h5py.File(store, "r+") as file:
        for name in ("features", "features_digest"):
            del file[name]
            source.copy(name, file)
    with pytest.raises(StoreError, match="digests do not match their seal"):
        FeatureStore(store)


def test_a_store_of_format_1_is_read_and_says_what_is_not_covered(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_format_1(path, rows(), FAILED[:5])
    found = FeatureStore(path)
    assert (found.ids, found.failed) == (rows().ids, FAILED[:5])
    np.testing.assert_array_equal(found.load(), rows().features)
    np.testing.assert_array_equal(found.load(rows().ids[77:99]), rows().features[77:99])
    assert "a hole of zeros" in (found.not_covered or "")
    assert verify(path).problems == []


def test_a_store_of_format_1_is_written_anew_with_digests(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_format_1(path, rows(), FAILED[:5])
    with StoreWriter.resume(path) as writer:
        writer.finish()
        assert not FeatureStore(path).is_sealed, "not unless it is asked for"
        writer.finish(renew=True)
    found = FeatureStore(path)
    assert found.is_sealed
    assert found.not_covered is None
    assert (found.ids, found.failed) == (rows().ids, FAILED[:5])
    np.testing.assert_array_equal(found.load(), rows().features)


def test_a_flipped_bit_in_a_store_of_format_1_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_format_1(path, rows())
    offset, size = chunks(path, "features")[1]
    overwrite(path, offset + 7, bytes([path.read_bytes()[offset + 7] ^ 4]))
    with pytest.raises(StoreError, match="damaged"):
        FeatureStore(path).load()
    assert verify(path).bad.sum() == size // (2 * DIM)


def test_a_hole_in_a_store_of_format_1_is_told_and_not_made_permanent(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_format_1(path, rows())
    offset, size = chunks(path, "features")[1]
    overwrite(path, offset, bytes(size))
    assert verify(path).problems[0].endswith("its features are zeros, as a hole in the file is")
    with StoreWriter.resume(path) as writer, pytest.raises(StoreError, match="are zeros, as a hole in the file is"):
        writer.finish(renew=True)
    repair(path)
    assert FeatureStore(path).is_sealed
    assert verify(path).problems == []
