"""Ctrl-C at every write of HDF5's, and writes that never reach the disk: the store is whole or is not there."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter, verify
from feature_cache.disk import GuardedFile, uninterrupted
from tests.conftest import quick, slow

IDS = [f"{i}.jpg" for i in range(96)]
FEATURES = np.random.default_rng(0).standard_normal((96, 8)).astype(np.float16)


def add_parts(path: Path) -> None:
    with StoreWriter(path, {"m": 1}) as writer:
        for start in range(0, 96, 24):
            part = slice(start, start + 24)
            contents = np.arange(start + 1, start + 25, dtype=np.uint64)
            rows = Rows(IDS[part], FEATURES[part], np.full((24, 2), 640), contents)
            writer.add(rows, [Failure(f"bad{start}", "reason")])


def require_whole(path: Path) -> None:
    found = FeatureStore(path)
    assert found.ids == IDS
    np.testing.assert_array_equal(found.load(), FEATURES)
    assert (found.sizes == 640).all()
    assert found.contents.tolist() == list(range(1, 97))
    assert len(found.failed) == 4
    assert verify(path).problems == []


class Writes:
    """Counts the writes of HDF5's, and does something at the n-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, what: int | None) -> None:
        self.count, usual = 0, GuardedFile.write

        def write(file: GuardedFile, data, /) -> int:
            self.count += 1
            if self.count == at and what is None:
                return memoryview(data).nbytes  # a write that is lost
            if self.count == at and what is not None:
                signal.raise_signal(what)
            return usual(file, data)

        monkeypatch.setattr(GuardedFile, "write", write)


@pytest.fixture(autouse=True)
def raising() -> Iterator[None]:
    """SIGINT raises, also where the tests run in the background, and SIGTERM too, as a program may want it."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(143)

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: stop}
    usual = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("what", "error"), quick([(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]))
@pytest.mark.parametrize("step", [23, slow(3)])
def test_a_signal_at_any_write_of_the_merge_leaves_the_parts_and_the_next_merge_is_whole(
    tmp_path: Path, what: int, error: type[BaseException], step: int
) -> None:
    at = 1 - step
    while True:
        at += step
        path = tmp_path / str(at) / "store.h5"
        add_parts(path)
        with pytest.MonkeyPatch.context() as patch:
            writes = Writes(patch, at, what)
            with StoreWriter.resume(path) as writer, suppress(error):
                writer.finish()
        if writes.count < at:
            break
        if path.exists():
            require_whole(path)
        else:
            assert len(list((path.parent / "store.h5.parts").iterdir())) == 4
        with StoreWriter.resume(path) as writer:
            writer.finish()
        require_whole(path)
    assert at > 10


@pytest.mark.parametrize("step", [6, slow(1)])
def test_a_signal_at_any_write_of_a_part_loses_that_part_alone(tmp_path: Path, step: int) -> None:
    for at in range(1, 20, step):
        path = tmp_path / str(at) / "store.h5"
        rows = Rows(IDS, FEATURES, np.full((96, 2), 640))
        with pytest.MonkeyPatch.context() as patch, StoreWriter(path, {"m": 1}) as writer:
            Writes(patch, at, signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                writer.add(rows)
        with StoreWriter(path, {"m": 1}) as writer:
            assert writer.done in (set(), set(IDS))
            if not writer.done:
                writer.add(rows)
            writer.finish()
        np.testing.assert_array_equal(FeatureStore(path).load(), FEATURES)


@pytest.mark.slow
def test_a_write_that_is_lost_is_noticed_before_the_store_takes_its_name(tmp_path: Path) -> None:
    noticed = 0
    for at in range(1, 25, 6):
        path = tmp_path / str(at) / "store.h5"
        add_parts(path)
        with pytest.MonkeyPatch.context() as patch, StoreWriter.resume(path) as writer:
            Writes(patch, at, None)
            try:
                writer.finish()
            except StoreError:
                noticed += 1
                assert len(list((path.parent / "store.h5.parts").iterdir())) == 4
        with StoreWriter.resume(path) as writer:
            writer.finish()
        require_whole(path)
    assert noticed > 1


def test_signals_come_when_the_block_has_ended_and_then_the_usual_handlers_are_back() -> None:
    usual, ended = signal.getsignal(signal.SIGINT), []

    def interrupted_twice() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert ended
    assert signal.getsignal(signal.SIGINT) is usual


@pytest.mark.slow
def test_a_second_ctrl_c_while_a_writer_stops_leaves_the_parts_whole(tmp_path: Path) -> None:
    """A process of its own gets two SIGINT at random instants of a merge. Where Python swallows them, as it does in the
    callback of a weak reference, the process ends by itself."""
    code = """
import os, pathlib, sys, threading, time
from feature_cache import FeatureStore, StoreWriter, written_files
path = pathlib.Path(sys.argv[1])
def interrupt():
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), 2)
    time.sleep(float(sys.argv[3]))
    os.kill(os.getpid(), 2)
threading.Thread(target=interrupt, daemon=True).start()
for _ in range(20):
    with StoreWriter.resume(path) as writer:
        writer._merge([FeatureStore(file) for file in written_files(path)], lambda rows: None)
        path.unlink()
"""
    path = tmp_path / "store.h5"
    add_parts(path)
    for first, second in ((0.01, 0.001), (0.015, 0.0), (0.02, 0.003)):
        done = subprocess.run(
            [sys.executable, "-c", code, path, str(first), str(second)], capture_output=True, text=True
        )
        assert done.returncode in (0, 1, -signal.SIGINT), done.stderr
        assert not done.returncode or "KeyboardInterrupt" in done.stderr
        with StoreWriter.resume(path) as writer:
            assert writer.done == {*IDS, "bad0", "bad24", "bad48", "bad72"}
