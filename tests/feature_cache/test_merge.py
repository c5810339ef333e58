"""Parts into stores, stores into stores, stores out of the way, and what a folder of all of them holds."""

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import feature_cache.new_file
import feature_cache.store
from feature_cache import Failure, FeatureStore, Rows, SpecMismatchError, StoreError, StoreWriter, drop, verify
from feature_cache.listing import describe, find_stores
from tests.conftest import quick
from tests.feature_cache.test_lock import holder

SPEC = {"model": "tiny"}
DIM = 6
IDS = [f"class {i % 5}/é {i:03d}.jpg" for i in range(40)]


def rows_of(ids: list[str], version: int = 0) -> Rows:
    """Rows that depend on nothing but their id and the version of the images."""
    digests = [list(hashlib.sha256(f"{image} {version}".encode()).digest()[:DIM]) for image in ids]
    features = np.array(digests, np.float32).reshape(-1, DIM)
    return Rows(ids, features, features[:, :2].astype(np.int32) + 1, features[:, 3].astype(np.uint64) + 1)


def write(
    path: Path,
    ids: list[str],
    failures: list[Failure] | None = None,
    version: int = 0,
    finish: bool = True,
    part: int = 100,
) -> FeatureStore | None:
    with StoreWriter(path, SPEC) as writer:
        for start in range(0, max(len(ids), 1), part):
            writer.add(rows_of(ids[start : start + part], version), failures or [] if start == 0 else [])
        if finish:
            writer.finish()
    return FeatureStore(path) if finish else None


def absorb(path: Path, other: Path) -> int:
    with StoreWriter.resume(path) as writer:
        return writer.absorb(FeatureStore(other))


def require_holds(path: Path, ids: list[str], failed: list[Failure] | None = None) -> None:
    """The store holds exactly the ids' rows, in order, and nothing lies beside it."""
    store, expected = FeatureStore(path), rows_of(ids)
    assert store.ids == ids
    np.testing.assert_array_equal(store.load(), expected.features)
    np.testing.assert_array_equal(store.sizes, expected.sizes)
    np.testing.assert_array_equal(store.contents, expected.contents)  # pyright: ignore
    assert store.failed == (failed or [])
    assert verify(path).problems == []
    assert not [file.name for file in path.parent.iterdir() if file.suffix != ".h5" or file.name.startswith(".")]


def content(path: Path) -> tuple:
    return path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino


def failure(image: str, reason: str = "OSError: truncated") -> Failure:
    return Failure(image, reason)


# ---- resume ----


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_parts_of_an_interrupted_writer_are_merged_without_saying_what_they_are(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "store.h5"
    with StoreWriter(path, SPEC, dtype=dtype) as writer:
        writer.add(rows_of(IDS[:9]), [failure("broken.jpg")])
        writer.add(rows_of(IDS[9:12]))
    with StoreWriter.resume(path) as writer:
        writer.finish()
    require_holds(path, IDS[:12], [failure("broken.jpg")])
    assert FeatureStore(path).dtype == dtype
    assert FeatureStore(path).spec == SPEC


def test_parts_beside_a_store_are_merged_behind_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS[:5])
    write(path, IDS[5:30], finish=False, part=4)
    with StoreWriter.resume(path) as writer:
        writer.finish()
    require_holds(path, IDS[:30])


def test_a_finished_store_is_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS)
    before = content(path)
    with StoreWriter.resume(path) as writer:
        writer.finish()
    assert content(path) == before


def test_where_nothing_is_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"neither a feature store nor a part of one at .*store.h5"):
        StoreWriter.resume(tmp_path / "store.h5")
    (tmp_path / "store.h5.parts").mkdir()
    with pytest.raises(StoreError, match="neither a feature store nor a part"):
        StoreWriter.resume(tmp_path / "store.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["store.h5.parts"]


# ---- absorb ----


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    write(tmp_path / "ours.h5", IDS[:20])
    return tmp_path / "ours.h5"


@pytest.mark.parametrize("block", quick([DIM * 2, 1 << 20]), ids=["several blocks", "one block"])
@pytest.mark.parametrize(("first", "new"), quick([(10, 20), (20, 20), (0, 20)]), ids=["overlapping", "disjoint", "all"])
def test_another_store_s_new_rows_go_behind_ours_in_their_order(
    ours: Path, monkeypatch: pytest.MonkeyPatch, first: int, new: int, block: int
) -> None:
    monkeypatch.setattr(feature_cache.new_file, "CHUNK_BYTES", block)
    monkeypatch.setattr(feature_cache.store, "CHUNKS_PER_BLOCK", 3)
    theirs = ours.with_name("theirs.h5")
    write(theirs, IDS[first:][::-1])
    before = content(theirs)
    assert absorb(ours, theirs) == new
    require_holds(ours, IDS[:20] + IDS[20:][::-1])
    assert content(theirs) == before


def test_a_store_that_brings_nothing_new_changes_nothing(ours: Path) -> None:
    theirs = ours.with_name("theirs.h5")
    write(theirs, IDS[5:15])
    before = content(ours)
    assert absorb(ours, theirs) == 0
    assert absorb(ours, ours) == 0
    assert content(ours) == before


def test_parts_of_ours_are_merged_first_and_count_as_ours(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    write(ours, IDS[:10], finish=False)
    write(theirs, IDS[5:15])
    assert absorb(ours, theirs) == 5
    require_holds(ours, IDS[:15])


def test_other_features_of_an_image_that_both_hold_are_an_error_that_names_it(ours: Path) -> None:
    theirs = ours.with_name("theirs.h5")
    write(theirs, [*IDS[30:], IDS[7]], version=1)
    before = content(ours)
    with pytest.raises(StoreError, match=rf"ours.h5 and .*theirs.h5 hold different features of {IDS[7]}; one of them"):
        absorb(ours, theirs)
    assert content(ours) == before
    require_holds(ours, IDS[:20])


def test_a_store_that_is_refused_leaves_nothing_behind_however_late_that_is_noticed(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before the difference is of other images, too, so it must not get in with the next merge."""
    monkeypatch.setattr(feature_cache.new_file, "CHUNK_BYTES", DIM * 2)
    monkeypatch.setattr(feature_cache.store, "CHUNKS_PER_BLOCK", 3)
    theirs = ours.with_name("theirs.h5")
    write(theirs, [*IDS[25:], IDS[7]], version=1)
    with pytest.raises(StoreError, match=rf"hold different features of {IDS[7]}"):
        absorb(ours, theirs)
    with StoreWriter.resume(ours) as writer:
        assert writer.done == set(IDS[:20])
        writer.finish()
    require_holds(ours, IDS[:20])


def test_another_spec_is_refused_by_key_and_another_dtype_too(ours: Path) -> None:
    other, wide = ours.with_name("other.h5"), ours.with_name("wide.h5")
    with StoreWriter(other, {"model": "large"}) as writer:
        writer.add(rows_of(IDS[20:]))
        writer.finish()
    with StoreWriter(wide, SPEC, dtype="float32") as writer:
        writer.add(rows_of(IDS[20:]))
        writer.finish()
    before = content(ours)
    with pytest.raises(SpecMismatchError, match=r'other.h5 holds other features .*\(model: "large", not "tiny"\)'):
        absorb(ours, other)
    with pytest.raises(SpecMismatchError, match=r"wide.h5 holds other features .*\(stored as: float32, not float16\)"):
        absorb(ours, wide)
    assert content(ours) == before


@pytest.mark.parametrize("ids", [IDS[20:], IDS[5:10]], ids=["disjoint", "the same images"])
@pytest.mark.parametrize("dim", [1, 4])
def test_another_dimension_is_refused(ours: Path, ids: list[str], dim: int) -> None:
    theirs = ours.with_name("theirs.h5")
    with StoreWriter(theirs, SPEC) as writer:
        writer.add(Rows(ids, np.ones((len(ids), dim)), np.ones((len(ids), 2))))
        writer.finish()
    with pytest.raises(StoreError, match=r"dimensions: (1|4), not 6"):
        absorb(ours, theirs)
    require_holds(ours, IDS[:20])


def test_failures_are_carried_over_and_an_image_beats_a_failure_on_either_side(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    write(ours, IDS[:3], [failure("both.jpg", "ours"), failure(IDS[5]), failure("we.jpg")])
    write(theirs, IDS[3:6], [failure("both.jpg", "theirs"), failure(IDS[1]), failure("they.jpg")])
    assert absorb(ours, theirs) == 3
    require_holds(ours, IDS[:6], [failure("both.jpg", "ours"), failure("they.jpg"), failure("we.jpg")])


def test_failures_alone_are_carried_over(ours: Path) -> None:
    theirs = ours.with_name("theirs.h5")
    write(theirs, [], [failure("they.jpg")])
    assert absorb(ours, theirs) == 0
    require_holds(ours, IDS[:20], [failure("they.jpg")])


def test_a_damaged_store_is_not_absorbed(ours: Path) -> None:
    theirs = ours.with_name("theirs.h5")
    store = write(theirs, IDS[15:])
    assert store is not None
    damaged = bytearray(theirs.read_bytes())
    damaged[damaged.index(store.load()[-2:].tobytes())] ^= 1
    theirs.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"theirs.h5 is damaged"):
        absorb(ours, theirs)
    require_holds(ours, IDS[:20])


# ---- drop ----


def test_a_dropped_store_is_gone_with_its_parts_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(tmp_path / "store.h5.h5", IDS)
    write(path, IDS[:5])
    write(path, IDS[5:9], finish=False)
    drop(path)
    assert [file.name for file in tmp_path.iterdir()] == ["store.h5.h5"]
    with StoreWriter(path, {"model": "another"}) as writer:
        assert writer.done == set()


def test_a_store_of_parts_only_and_a_damaged_one_can_be_dropped(tmp_path: Path) -> None:
    write(tmp_path / "store.h5", IDS[5:9], finish=False)
    (tmp_path / "damaged.h5").write_bytes(b"junk")
    drop(tmp_path / "store.h5")
    drop(tmp_path / "damaged.h5")
    assert not list(tmp_path.iterdir())


def test_a_store_that_another_process_writes_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS[:5])
    write(path, IDS[5:9], finish=False)
    with holder(path) as other:
        with pytest.raises(StoreError, match=rf"is being written by .*pid {other.pid}"):
            drop(path)
        other.communicate("\n")
    with StoreWriter(path, SPEC) as writer:
        assert writer.done == set(IDS[:9])


# ---- listing ----


def test_all_stores_below_a_folder_are_found_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "finished.h5", IDS)
    write(tmp_path / "a" / "b" / "nested.h5", IDS)
    write(tmp_path / "a" / "both.h5", IDS[:5])
    write(tmp_path / "a" / "both.h5", IDS[5:], finish=False)
    write(tmp_path / "a" / "unfinished.h5", IDS, finish=False, part=15)
    (tmp_path / "damaged.h5").write_bytes(b"junk")
    (tmp_path / ".finished.h5.tmp").write_bytes(b"half")
    (tmp_path / "a" / "unfinished.h5.parts" / ".000003.h5.tmp").write_bytes(b"half")
    (tmp_path / ".hidden.h5").write_bytes(b"half")
    (tmp_path / "nothing.h5.parts").mkdir()
    (tmp_path / "finished.h5.lock").touch()
    (tmp_path / "notes.txt").touch()
    names = ["a/b/nested.h5", "a/both.h5", "a/unfinished.h5", "damaged.h5", "finished.h5"]
    assert [str(path.relative_to(tmp_path)) for path in find_stores(tmp_path)] == names
    assert find_stores(tmp_path / "nowhere") == []
    parts = {path.name: describe(path).parts for path in find_stores(tmp_path)}
    assert parts == {"nested.h5": 0, "both.h5": 1, "unfinished.h5": 3, "damaged.h5": 0, "finished.h5": 0}


def test_a_finished_store_is_described_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS)
    found = describe(path)
    assert (found.path, found.parts, found.writer, found.problem) == (path, 0, None, None)
    assert found.store is not None
    assert found.store.ids == IDS
    assert found.bytes == path.stat().st_size


def test_an_unfinished_store_is_described_by_its_first_part(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS, finish=False, part=15)
    found = describe(path)
    assert (found.parts, found.writer, found.problem) == (3, None, None)
    assert found.store is not None
    assert found.store.ids == IDS[:15]
    assert found.bytes == sum(file.stat().st_size for file in (tmp_path / "store.h5.parts").iterdir())


def test_a_damaged_store_is_described_by_its_problem(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS)
    path.write_bytes(path.read_bytes()[:-100])
    found = describe(path)
    assert found.store is None
    assert found.problem is not None
    assert found.problem.startswith(f"{path} is damaged")
    with pytest.raises(StoreError, match="neither a feature store nor a part"):
        describe(tmp_path / "nowhere.h5")


def test_who_writes_a_store_is_told_without_getting_in_its_way(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write(path, IDS)
    with holder(path) as other:
        for _ in range(3):
            assert f"pid {other.pid}" in (describe(path).writer or "")
        with pytest.raises(StoreError, match=f"pid {other.pid}"), StoreWriter(path, SPEC):
            pass
        other.communicate("\n")
    assert describe(path).writer is None


WRITE_ON_AND_ON = """
import sys, time
sys.path[:0] = sys.argv[2:]
from tests.feature_cache.test_merge import IDS, write
from pathlib import Path
until = time.monotonic() + 2
while time.monotonic() < until:
    write(Path(sys.argv[1]), IDS, part=10)
    Path(sys.argv[1]).unlink()
"""


@pytest.mark.slow
def test_a_folder_can_be_listed_while_another_process_writes_finishes_and_deletes(tmp_path: Path) -> None:
    """Of a store that vanishes meanwhile nothing is known, which is a StoreError; and its writer is never disturbed."""
    path, chance = tmp_path / "store.h5", random.Random(0)
    command = [sys.executable, "-c", WRITE_ON_AND_ON, str(path), *filter(None, sys.path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as writer:
        try:
            while writer.poll() is None:
                for found in find_stores(tmp_path):
                    try:
                        assert describe(found).bytes >= 0
                    except StoreError as error:
                        assert "neither a feature store nor a part" in str(error)  # noqa: PT017
                time.sleep(chance.uniform(0, 0.002))
        finally:
            _, errors = writer.communicate(timeout=120)
    assert writer.returncode == 0, errors[-500:]
