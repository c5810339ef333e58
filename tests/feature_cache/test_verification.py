"""Bytes are really changed in real files, and what is said to be bad is compared with HDF5's own list of its chunks."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import feature_cache.new_file
from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter, repair, verify
from tests.conftest import quick, slow
from tests.feature_cache.formats import reseal
from tests.feature_cache.test_lock import holder

SPEC = {"model": "tiny"}
DIM = 4
N = 20_000
IDS = [f"class {i % 7}/é {i:05d}.jpg" for i in range(N)]
FAILED = [Failure(f"broken/{i:05d}.jpg", f"OSError: truncated at byte {i}") for i in range(3_000)]
COLUMNS = ("features", "id", "size", "content", "failed")
ROWS = COLUMNS[:4]


def all_rows() -> Rows:
    """Rows with every bit in use, so that a changed byte changes a value."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N, DIM)).astype(np.float16)
    return Rows(IDS, features, rng.integers(1, 1 << 30, (N, 2), np.int32), rng.integers(1, 1 << 63, N, np.uint64))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with several chunks in every column; the last ones are not full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache.new_file, "CHUNK_BYTES", 1 << 14)
        path = tmp_path_factory.mktemp("whole") / "store.h5"
        with StoreWriter(path, SPEC) as writer:
            writer.add(all_rows(), FAILED)
            writer.finish()
        yield path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(whole, tmp_path / "store.h5"))


def damage(path: Path, column: str, chunk: int, seed: int = 0) -> np.ndarray:
    """Flips one bit of the chunk, somewhere; returns which rows (N,) the chunk holds, none of the list of failures."""
    rng = np.random.default_rng([seed, chunk % 100, COLUMNS.index(column)])
    with h5py.File(path) as file:
        data = file[column]
        assert isinstance(data, h5py.Dataset)
        chunks = [data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks())]
        assert len(chunks) > 1
        found = sorted(chunks, key=lambda info: info.chunk_offset)[chunk]
        start, step = found.chunk_offset[0], (data.chunks or (0,))[0]
    position = found.byte_offset + int(rng.integers(found.size))
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << int(rng.integers(8))]))
    rows = np.zeros(N, bool)
    if column != "failed":
        rows[start : start + step] = True
    return rows


def runs(rows: np.ndarray) -> Iterable[slice]:
    """Slices of the true rows."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], rows, [False]))))
    return (slice(*ends) for ends in edges.reshape(-1, 2).tolist())


def require_readable_and_right(path: Path, rows: np.ndarray) -> None:
    expected = all_rows()
    with h5py.File(path) as file:
        data = {name: file[name] for name in ROWS}
        for run in runs(rows):
            assert [image.decode() for image in data["id"][run]] == IDS[run]  # pyright: ignore
            for name, values in (("features", expected.features), ("size", expected.sizes)):
                np.testing.assert_array_equal(data[name][run], values[run])  # pyright: ignore
            assert expected.contents is not None
            np.testing.assert_array_equal(data["content"][run], expected.contents[run])  # pyright: ignore


def require_holds(path: Path, rows: np.ndarray, failed: list[Failure]) -> None:
    """The store holds exactly these rows, in order, and these failures, and verifies clean."""
    found, expected = FeatureStore(path), all_rows().select(rows)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.load(), expected.features)
    np.testing.assert_array_equal(found.sizes, expected.sizes)
    np.testing.assert_array_equal(found.contents, expected.contents)
    assert found.failed == failed
    assert (found.spec, found.dtype, found.dim) == (SPEC, np.float16, DIM)
    assert verify(path).problems == []


def edit(path: Path, column: str, row: int, value: object) -> None:
    """Writes one value, digest and all."""
    with h5py.File(path, "r+") as file:
        file[column][row] = value  # pyright: ignore
    reseal(path)


def test_a_whole_store_has_no_problems_and_all_of_it_is_read(whole: Path) -> None:
    seen: list[int] = []
    report = verify(whole, seen.append)
    assert (report.problems, report.bad.any(), report.failures_lost) == ([], False, False)
    assert (report.ids, report.bad_ids, len(report.bad)) == (IDS, [], N)
    assert sum(seen) == N
    assert len(seen) > 1


def test_a_store_without_rows_has_no_problems(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store.h5", SPEC) as writer:
        writer.add(Rows([], np.empty((0, DIM)), np.empty((0, 2))), FAILED[:1])
        writer.finish()
    assert verify(tmp_path / "store.h5").problems == []


@pytest.mark.parametrize("seed", [0, slow(1), slow(2)])
@pytest.mark.parametrize("chunk", quick([-1, 0, 1]))
@pytest.mark.parametrize("column", ROWS)
def test_a_flipped_bit_makes_bad_exactly_the_rows_of_its_chunk(store: Path, column: str, chunk: int, seed: int) -> None:
    bad = damage(store, column, chunk, seed)
    report = verify(store)
    np.testing.assert_array_equal(report.bad, bad)
    first, last = np.flatnonzero(bad)[[0, -1]]
    assert report.problems == [f"rows {first:,} to {last:,}: `{column}` does not match its digest"]
    known = [None if hidden else image for image, hidden in zip(IDS, bad & (column == "id"), strict=True)]
    assert report.ids == known
    assert len(report.bad_ids) == bad.sum()
    assert not report.failures_lost
    require_readable_and_right(store, ~report.bad)


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_flipped_bit_in_the_list_of_failures_is_found_and_spoils_no_row(store: Path, chunk: int) -> None:
    damage(store, "failed", chunk)
    report = verify(store)
    assert report.failures_lost
    assert report.problems == ["the list of images that gave no features does not match its digest"]
    assert not report.bad.any()
    require_readable_and_right(store, ~report.bad)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_found_though_its_digest_is_right(store: Path, value: float) -> None:
    for row in (0, 7_001, N - 1):
        edit(store, "features", row, [1, value, 2, 3])
    report = verify(store)
    assert np.flatnonzero(report.bad).tolist() == [0, 7_001, N - 1]
    assert report.problems[1] == f"row 7,001 ({IDS[7_001]}): a feature is not a finite number"
    assert report.bad_ids == [IDS[0], IDS[7_001], IDS[-1]]


def test_an_id_that_occurs_twice_is_found(store: Path) -> None:
    edit(store, "id", 12_345, IDS[17].encode())
    report = verify(store)
    assert np.flatnonzero(report.bad).tolist() == [12_345]
    assert report.problems == [f"row 12,345 ({IDS[17]}): the id is that of row 17, too"]


@pytest.mark.parametrize("raw", [b"\xff\xfe.jpg", b""], ids=["no UTF-8", "empty"])
def test_what_is_no_id_is_found_though_its_digest_is_right(store: Path, raw: bytes) -> None:
    edit(store, "id", 5, raw)
    report = verify(store)
    assert np.flatnonzero(report.bad).tolist() == [5]


def test_a_file_that_cannot_be_opened_is_an_error(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:-1000])
    for check in (verify, repair):
        with pytest.raises(StoreError, match=r"store.h5 is damaged"):
            check(store)


DAMAGES = {
    "features": [("features", 0), ("features", 3)],
    "id": [("id", 2), ("id", -1)],
    "size": [("size", 1)],
    "content": [("content", -1)],
    "everything": [("features", 5), ("features", -1), ("id", 9), ("size", 0), ("content", 1), ("failed", 0)],
    "the failures": [("failed", 1)],
    "all rows": [("content", 0), ("content", 1)],
}
QUICK = ("everything",)


@pytest.mark.parametrize("damaged", [*QUICK, *(slow(name) for name in DAMAGES if name not in QUICK)])
def test_repair_leaves_exactly_the_good_rows_and_a_writer_adds_what_is_gone(store: Path, damaged: str) -> None:
    bad, places = np.zeros(N, bool), DAMAGES[damaged]
    for column, chunk in places:
        bad |= damage(store, column, chunk)
    lost = "failed" in dict(places)
    [report] = repair(store)
    np.testing.assert_array_equal(report.bad, bad)
    assert report.failures_lost == lost
    require_holds(store, ~bad, [] if lost else FAILED)
    assert [path.name for path in store.parent.iterdir()] == ["store.h5"]
    with StoreWriter(store, SPEC) as writer:
        assert writer.done == {image for image, gone in zip(IDS, bad, strict=True) if not gone} | (
            set() if lost else {failure.id for failure in FAILED}
        )
        writer.add(all_rows().select(bad), FAILED if lost else [])
        writer.finish()
    again = FeatureStore(store)
    assert sorted(again.ids) == sorted(IDS)
    np.testing.assert_array_equal(again.load(IDS), all_rows().features)
    assert again.failed == FAILED
    assert verify(store).problems == []


def test_repair_takes_out_what_is_not_finite_and_what_is_there_twice(store: Path) -> None:
    edit(store, "features", 7_001, [1, np.nan, 2, 3])
    edit(store, "id", 12_345, IDS[17].encode())
    repair(store)
    require_holds(store, ~np.isin(np.arange(N), [7_001, 12_345]), FAILED)


def test_repair_leaves_a_healthy_store_untouched(store: Path) -> None:
    before = store.stat(), store.read_bytes()
    assert [report.problems for report in repair(store)] == [[]]
    after = store.stat(), store.read_bytes()
    assert (after[0].st_ino, after[0].st_mtime_ns, after[1]) == (before[0].st_ino, before[0].st_mtime_ns, before[1])
    assert [path.name for path in store.parent.iterdir()] == ["store.h5"]


def test_repair_is_refused_while_another_process_writes(store: Path) -> None:
    damage(store, "features", 1)
    before = store.read_bytes()
    with holder(store) as other:
        with pytest.raises(StoreError, match=rf"is being written by .*pid {other.pid}"):
            repair(store)
        assert store.read_bytes() == before
        other.communicate("\n")
    repair(store)
    assert verify(store).problems == []


REPAIR_ON_A_FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[2:]
from feature_cache import StoreError, repair
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, resource.RLIM_INFINITY))
try:
    repair(sys.argv[1])
except StoreError as error:
    print(error)
"""


def test_a_repair_that_finds_the_disk_full_leaves_the_store_as_it_was(store: Path) -> None:
    damage(store, "features", 1)
    before = store.read_bytes()
    command = [sys.executable, "-c", REPAIR_ON_A_FULL_DISK, str(store), *filter(None, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "could not be written" in done.stdout, done.stderr[-500:]
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == ["store.h5"]
