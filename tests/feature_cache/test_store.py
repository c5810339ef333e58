import hashlib
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import feature_cache.new_file
from feature_cache import (
    Failure,
    FeatureStore,
    MissingIdsError,
    Rows,
    StoreError,
    StoreWriter,
    differences,
    fingerprint,
)
from tests.conftest import quick, slow

SPEC = {"backbone": {"model": "tiny", "weights_sha256": "00ff"}, "dtype": "float16"}
IDS = [f"class {i % 5}/photo-{i:03d}.jpg" for i in range(23)]
FAILED = [Failure("class 1/broken.jpg", "OSError: image file is truncated")]


def rows_of(ids: list[str], dim: int = 6) -> Rows:
    """Random rows with every bit in use, so that a changed byte changes a value."""
    rng = np.random.default_rng(len(ids))
    return Rows(ids, rng.normal(size=(len(ids), dim)), rng.integers(1, 9999, (len(ids), 2)))


def written(path: Path, rows: Rows, dtype: str = "float16") -> FeatureStore:
    with StoreWriter(path, SPEC, dtype=dtype) as writer:
        writer.add(rows, FAILED)
        writer.finish()
    return FeatureStore(path)


def read_everything(path: Path) -> tuple:
    store = FeatureStore(path)
    return store.spec, store.ids, store.failed, store.sizes.tolist(), store.load().tobytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store of several chunks; the last one is not full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache.new_file, "CHUNK_BYTES", 7 * 6 * 2)
        yield written(tmp_path_factory.mktemp("store") / "store.h5", rows_of(IDS))


def test_ids_features_sizes_and_failures_come_back_as_they_were_written(tmp_path: Path) -> None:
    ids = ["a b/c d.jpg", "naïve café/été.jpg", "日本語/猫.png", "🦊/👩‍👩‍👧.webp", "x" * 4092 + ".jpg", "é" * 2048, " "]
    rows = rows_of(ids)
    store = written(tmp_path / "store.h5", rows)
    assert store.ids == ids
    assert store.spec == SPEC
    assert store.failed == FAILED
    assert (len(store), store.dim, store.dtype) == (len(ids), 6, np.float16)
    np.testing.assert_array_equal(store.sizes, rows.sizes)
    np.testing.assert_array_equal(store.load(), rows.features.astype(np.float16))
    np.testing.assert_array_equal(store.load(ids[::-1]), rows.features[::-1].astype(np.float16))


def test_float32_features_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows = rows_of(IDS)
    np.testing.assert_array_equal(
        written(tmp_path / "store.h5", rows, "float32").load(), rows.features.astype(np.float32)
    )


@given(wanted=st.lists(st.sampled_from(range(len(IDS))), max_size=60))
def test_load_gives_the_rows_of_the_ids_in_any_order_and_with_repeats(store: FeatureStore, wanted: list[int]) -> None:
    reference = rows_of(IDS).features.astype(np.float16)
    loaded = store.load([IDS[row] for row in wanted])
    assert loaded.shape == (len(wanted), 6)
    np.testing.assert_array_equal(loaded, reference[wanted])


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
def test_blocks_hold_all_rows_once_and_in_order(store: FeatureStore, rows: int) -> None:
    blocks = list(store.blocks(rows))
    assert max(len(block.ids) for block in blocks) == min(rows, len(IDS))
    assert [image for block in blocks for image in block.ids] == IDS
    np.testing.assert_array_equal(np.concatenate([block.features for block in blocks]), store.load())
    np.testing.assert_array_equal(np.concatenate([block.sizes for block in blocks]), store.sizes)


def test_missing_ids_raise_with_their_count_and_the_first_five(store: FeatureStore) -> None:
    missing = [f"absent/{i}.jpg" for i in range(7)]
    with pytest.raises(MissingIdsError, match=r"lacks 7 of 9 images \(absent/0.jpg, .*absent/4.jpg\)") as caught:
        store.load([IDS[0], *missing, IDS[1]])
    assert caught.value.ids == missing


def test_a_store_can_be_used_in_a_spawned_worker(store: FeatureStore) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(store.load, (IDS[3:5],)), store.load(IDS[3:5]))


def test_plain_h5py_reads_a_store_in_three_lines(store: FeatureStore) -> None:
    with h5py.File(store.path) as file:
        features, ids = file["features"][:], file["id"].asstr()[:]  # pyright: ignore
    assert list(ids) == IDS
    np.testing.assert_array_equal(features, store.load())


TEXTS = {"the spec": b"tiny", "the fingerprint": fingerprint(SPEC).encode(), "the format": b"feature-cache"}


@pytest.mark.parametrize("bit", quick([0, 7]))
@pytest.mark.parametrize("what", ["features", "id", "size", "failed", *TEXTS])
def test_a_flipped_bit_is_an_error(tmp_path: Path, what: str, bit: int) -> None:
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    content = bytearray(path.read_bytes())
    if what in TEXTS:
        position = content.index(TEXTS[what])
    else:
        with h5py.File(path) as file:
            chunk = file[what].id.get_chunk_info(0)  # pyright: ignore
        position = chunk.byte_offset + 20
    content[position] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(
        StoreError,
        match=r"store.h5 is (damaged \(.*\); (delete it|.*verify. tells which rows)|an HDF5 file but not a feature)",
    ):
        read_everything(path)


FLIP = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from feature_cache import FeatureStore, StoreError
original, damaged = Path(sys.argv[1]), Path(sys.argv[1] + ".damaged")
content = original.read_bytes()
def read(path):
    store = FeatureStore(path)
    return store.spec, store.ids, store.failed, store.sizes.tolist(), store.load().tobytes()
expected = read(original)
for line in sys.stdin:
    position, bit = map(int, line.split())
    print(line, end="", flush=True)
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    damaged.write_bytes(changed)
    try:
        if read(damaged) != expected:
            sys.exit("this bit flips unnoticed")
    except StoreError:
        pass
"""


def require_safe(path: Path, flips: list[tuple[int, int]]) -> None:
    """Each of the flips of (byte, bit) is harmless or an error. In another process, as HDF5 may hang or crash."""
    lines = "".join(f"{position} {bit}\n" for position, bit in flips)
    command = [sys.executable, "-c", FLIP, str(path), *(entry for entry in sys.path if entry)]
    with path.with_suffix(".log").open("w+") as log:
        try:
            subprocess.run(command, input=lines, text=True, check=True, timeout=120, stdout=log, stderr=log)
        except subprocess.SubprocessError as error:
            log.seek(0)
            pytest.fail(f"{type(error).__name__} after the flip of {log.read().splitlines()[-3:]}")


@pytest.mark.parametrize("flips", [50, slow(300)])
def test_any_flipped_bit_is_harmless_or_an_error(tmp_path: Path, flips: int) -> None:
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    used = np.flatnonzero(np.frombuffer(path.read_bytes(), np.uint8))
    rng = np.random.default_rng(5)
    require_safe(path, [(int(rng.choice(used)), int(rng.integers(8))) for _ in range(flips)])


def test_a_flipped_bit_in_the_length_of_a_text_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    """Where texts are in HDF5's heap, their lengths are in front of them, unchecked; a wrong one can trap HDF5."""
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    content = path.read_bytes()
    texts = [*TEXTS.values(), b'{"backbone', IDS[0].encode(), IDS[9].encode(), FAILED[0].id.encode()]
    starts = [found for text in texts if (found := content.find(text)) > 0]
    require_safe(path, [(start - 8 + byte, bit) for start in starts for byte in (0, 1, 7) for bit in range(8)])


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.01])
def test_a_truncated_store_is_an_error(tmp_path: Path, keep: float) -> None:
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(StoreError, match=r"store.h5 is damaged \(.*truncated"):
        read_everything(path)


@pytest.mark.parametrize("content", [b"", b"id,feature\na.jpg,0.5\n"], ids=["empty", "text"])
def test_a_file_that_is_not_hdf5_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.h5").write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.h5 is not an HDF5 file"):
        FeatureStore(tmp_path / "store.h5")


def test_a_foreign_hdf5_file_is_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["features"] = np.zeros((3, 2))
    with pytest.raises(StoreError, match=r"foreign.h5 is an HDF5 file but not a feature store"):
        FeatureStore(tmp_path / "foreign.h5")


def test_an_absent_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no feature store at .*absent.h5; extract"):
        FeatureStore(tmp_path / "absent.h5")


def test_another_format_version_is_an_error_that_names_both(tmp_path: Path) -> None:
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(StoreError, match="has format version 99 and this release reads versions 1 to 2"):
        FeatureStore(path)


def test_a_store_without_its_final_mark_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "store.h5", rows_of(IDS)).path
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(StoreError, match="was never finished; delete it"):
        FeatureStore(path)


def test_a_fingerprint_is_the_same_for_any_order_of_the_keys_and_changes_with_any_value() -> None:
    turned = {"dtype": "float16", "backbone": {"weights_sha256": "00ff", "model": "tiny"}}
    assert fingerprint(turned) == fingerprint(SPEC)
    assert (
        fingerprint(SPEC)
        == hashlib.sha256(b'{"backbone":{"model":"tiny","weights_sha256":"00ff"},"dtype":"float16"}').hexdigest()
    )
    assert fingerprint(SPEC | {"dtype": "float32"}) != fingerprint(SPEC)
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"crop": float("nan")})


def test_differences_name_the_leaves_that_differ_and_nothing_else() -> None:
    theirs = {"backbone": {"model": "large", "weights_sha256": "00ff"}, "dtype": "float16", "px": 32}
    assert differences(SPEC, theirs) == ['backbone.model: "tiny", not "large"', "px: null, not 32"]
    assert differences(SPEC, SPEC) == []
