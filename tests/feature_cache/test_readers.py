"""Many processes read while another writes. Everything of a row follows from its id, so a wrong row is noticed."""

import hashlib
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import pytest

import feature_cache.new_file
from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter
from tests.conftest import quick

SPEC = {"model": "tiny"}
DIM = 24
CHUNK = 40 * DIM * 2  # forty rows
SECONDS = 2.5


def rows_of(ids: list[str]) -> Rows:
    """Rows that depend on nothing but their id."""
    digests = [hashlib.shake_256(image.encode()).digest(DIM + 16) for image in ids]
    values = np.array([np.frombuffer(digest, np.uint8) for digest in digests]).reshape(-1, DIM + 16)
    contents = np.ascontiguousarray(values[:, DIM : DIM + 8]).view(np.uint64).ravel()
    return Rows(ids, values[:, :DIM].astype(np.float32), values[:, -2:].astype(np.int32), contents)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}/class {i % 9}/é {i:05d}.jpg" for i in range(count)]


def write(path: Path, ids: list[str]) -> Path:
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(ids), [Failure(f"{ids[0]}.broken", "OSError: truncated")])
        writer.finish()
    return path


def require_right(store: FeatureStore, chance: random.Random) -> None:
    """Some of the store's rows, in some order, in one of the ways in which rows can be read."""
    way = chance.choice(["load", "load", "load", "blocks", "all", "columns"])
    if way == "load":
        ids = chance.choices(store.ids, k=chance.randint(1, 200))
        np.testing.assert_array_equal(store.load(ids), rows_of(ids).features)
    elif way == "all":
        np.testing.assert_array_equal(store.load(), rows_of(store.ids).features)
    elif way == "blocks":
        blocks = list(store.blocks(chance.randint(50, 500)))
        assert [image for block in blocks for image in block.ids] == store.ids
        for block in blocks:
            expected = rows_of(list(block.ids))
            np.testing.assert_array_equal(block.features, expected.features)
            np.testing.assert_array_equal(block.sizes, expected.sizes)
            np.testing.assert_array_equal(block.contents, expected.contents)
    else:
        expected = rows_of(store.ids)
        np.testing.assert_array_equal(store.sizes, expected.sizes)
        np.testing.assert_array_equal(store.contents, expected.contents)
    assert len(store) == len(store.ids)


# ---- what runs in the other processes ----


def read(store: FeatureStore, seed: int, until: float) -> int:
    """Reads at random from a store that was opened elsewhere, and from one opened here, at least five times."""
    chance, reads = random.Random(seed), 0
    while time.time() < until or reads < 5:
        require_right(store if chance.random() < 0.7 else FeatureStore(store.path), chance)
        reads += 1
    return reads


def read_while_it_changes(store: FeatureStore, seed: int, until: float) -> Counter[str]:
    """Goes on with a store until that is refused, then opens it anew, at least once; the rows only become more."""
    chance, seen, rows = random.Random(seed), Counter[str](), len(store)
    while time.time() < until or seen["right"] < 5 or not seen["replaced"]:
        try:
            require_right(store, chance)
            seen["right"] += 1
        except StoreError as error:
            if f"{store.path} was replaced by another process" not in str(error):
                raise
            seen["replaced"] += 1
            store = FeatureStore(store.path)
            assert len(store) >= rows
            rows = len(store)
    return seen


def write_others(folder: Path, end: Path) -> int:
    """Writes one new store after another, and adds to each, until there is a file `end`; returns how many."""
    count = 0
    while not end.exists() or count < 2:
        ids = names(f"other {count}", 120)
        path = write(folder / f"other-{count}.h5", ids[:70])
        write(path, ids[70:])
        assert FeatureStore(path).ids == ids
        count += 1
    return count


def grow(path: Path, end: Path) -> int:
    """Adds rows to the store and finishes it, again and again; returns how often."""
    count = 0
    while not end.exists() or count < 2:
        write(path, names(f"added {count}", 1 + 37 * count % 101))
        count += 1
    return count


def shuffle(path: Path, end: Path) -> int:
    """Puts the same rows in another order in the store's place, as if extracted anew, and some more each time."""
    count, chance = 0, random.Random(7)
    while not end.exists() or count < 2:
        ids = FeatureStore(path).ids + names(f"added {count}", 1)
        chance.shuffle(ids)
        write(path.with_name("new.h5"), ids).replace(path)
        count += 1
    return count


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A store of many chunks that has been used, so that what it remembers goes to the other processes as well."""
    monkeypatch.setattr(feature_cache.new_file, "CHUNK_BYTES", CHUNK)
    store = FeatureStore(write(tmp_path / "store.h5", names("photos", 1000)))
    require_right(store, random.Random(0))
    assert len(store.load(store.ids[::-3])) == 334
    return store


@pytest.fixture
def processes() -> Iterator[Callable[[str, int], Executor]]:
    """`processes("fork", 2)`: an executor of as many processes, all of which are running."""
    with ExitStack() as stack:

        def start(method: str, count: int) -> Executor:
            executor = stack.enter_context(ProcessPoolExecutor(count, multiprocessing.get_context(method)))
            list(executor.map(time.sleep, [0.2] * count))
            return executor

        yield start


@pytest.mark.slow
def test_four_processes_read_right_rows_while_one_writes_other_stores(store: FeatureStore, processes) -> None:
    forked, spawned = processes("fork", 3), processes("spawn", 2)
    until = time.time() + SECONDS
    end = store.path.with_name("end")
    writer = forked.submit(write_others, store.path.parent, end)
    readers = [
        executor.submit(read, store, seed, until) for seed, executor in enumerate((forked, spawned, forked, spawned))
    ]
    try:
        assert min(reader.result() for reader in readers) >= 5
    finally:
        end.touch()
    assert writer.result() >= 2
    np.testing.assert_array_equal(store.load(), rows_of(store.ids).features)


@pytest.mark.slow
@pytest.mark.parametrize("change", [grow, shuffle])
def test_readers_of_a_store_that_changes_see_right_rows_or_that_it_was_replaced(
    store: FeatureStore, processes, change: Callable[[Path, Path], int]
) -> None:
    forked, spawned = processes("fork", 3), processes("spawn", 2)
    until = time.time() + SECONDS
    end = store.path.with_name("end")
    writer = forked.submit(change, store.path, end)
    readers = [
        executor.submit(read_while_it_changes, store, seed, until)
        for seed, executor in enumerate((forked, spawned, forked, spawned))
    ]
    try:
        seen = sum((reader.result() for reader in readers), Counter())
    finally:
        end.touch()
    assert writer.result() >= 2
    assert seen["right"] >= 20
    assert seen["replaced"] >= 4
    with pytest.raises(StoreError, match="was replaced by another process"):
        store.load(store.ids[:1])
    changed = FeatureStore(store.path)
    assert set(changed.ids) > set(store.ids)
    np.testing.assert_array_equal(changed.load(), rows_of(changed.ids).features)


def test_blocks_go_on_with_the_old_rows_when_the_store_is_replaced_on_the_way(store: FeatureStore) -> None:
    """The file that is open stays what it was."""
    opened = FeatureStore(store.path)
    assert opened.ids  # known before
    blocks = opened.blocks(300)
    first = next(blocks)
    write(store.path, names("added", 50))
    rest = list(blocks)
    for block in (first, *rest):
        np.testing.assert_array_equal(block.features, rows_of(list(block.ids)).features)
    assert sum(len(block.ids) for block in (first, *rest)) == 1000


READINGS: dict[str, Callable[[FeatureStore], object]] = {
    "ids": lambda store: store.ids,
    "failed": lambda store: store.failed,
    "sizes": lambda store: store.sizes,
    "contents": lambda store: store.contents,
    "blocks": lambda store: list(store.blocks(100)),
    "load": lambda store: store.load(),
    "some": lambda store: store.load(["photos/class 0/é 00000.jpg"]),
}


@pytest.mark.parametrize("what", quick(READINGS, 2))
def test_nothing_is_read_from_a_store_that_took_the_place_of_the_opened_one(store: FeatureStore, what: str) -> None:
    opened = FeatureStore(store.path)  # nothing of it has been read
    write(store.path, names("added", 50))
    with pytest.raises(StoreError, match=r"store\.h5 was replaced by another process"):
        READINGS[what](opened)


@pytest.mark.parametrize("at", quick(["open", *READINGS], 3))
def test_a_store_that_is_replaced_right_after_its_file_was_opened_is_one_of_the_two(
    store: FeatureStore, at: str
) -> None:
    """Whatever is remembered of the old file and read of the new one, the rows are right and all there, or refused."""
    old, new = store.ids, store.ids + names("added", 50)
    opened = FeatureStore(store.path) if at != "open" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h5py, "File", replaced_when_opened(store.path, patch))
        try:
            opened = opened or FeatureStore(store.path)
            READINGS.get(at, len)(opened)
            assert (len(opened), opened.ids) in ((1000, old), (1050, new))
            np.testing.assert_array_equal(opened.load(), rows_of(opened.ids).features)
            assert [image for block in opened.blocks() for image in block.ids] == opened.ids
        except StoreError as error:
            if "was replaced by another process" not in str(error):
                raise
    assert FeatureStore(store.path).ids == new


def replaced_when_opened(path: Path, patch: pytest.MonkeyPatch) -> Callable[..., h5py.File]:
    """Opens one file as h5py does; then another process has put a longer store in its place."""
    real = h5py.File

    def open_and_replace(*args, **options) -> h5py.File:
        patch.setattr(h5py, "File", real)
        file = real(*args, **options)
        write(path, names("added", 50))
        return file

    return open_and_replace
