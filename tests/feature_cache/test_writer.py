import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from feature_cache import Failure, FeatureStore, Rows, SpecMismatchError, StoreError, StoreWriter
from tests.conftest import slow

SPEC = {"backbone": {"model": "tiny", "weights_sha256": "00ff"}, "dtype": "float16"}
IDS = [f"{i:03d}.jpg" for i in range(60)]
DIM = 4


def rows_of(ids: list[str]) -> Rows:
    """Rows that depend on nothing but their id."""
    digests = [np.frombuffer(hashlib.sha256(image.encode()).digest()[:DIM], np.uint8) for image in ids]
    features = np.array(digests, np.float32).reshape(-1, DIM)
    return Rows(ids, features, features[:, :2].astype(np.int32) + 1)


def require_whole(path: Path, ids: list[str] = IDS) -> None:
    """The finished store holds exactly the ids' rows, and nothing lies beside it."""
    store, expected = FeatureStore(path), rows_of(ids)
    assert store.ids == ids
    np.testing.assert_array_equal(store.load(), expected.features)
    np.testing.assert_array_equal(store.sizes, expected.sizes)
    assert {file.name for file in path.parent.iterdir()} == {path.name}


def write(path: Path, acknowledged: Path | None = None, part: int = 3) -> None:
    """Writes what is left to do; says in a file which parts are done."""
    with StoreWriter(path, SPEC) as writer:
        todo = [image for image in IDS if image not in writer.done]
        for start in range(0, len(todo), part):
            ids = todo[start : start + part]
            writer.add(rows_of(ids))
            if acknowledged is not None:
                with acknowledged.open("a") as file:
                    file.write("".join(f"{image}\n" for image in ids))
        writer.finish()


def killed_after(seconds: float, path: Path, acknowledged: Path) -> None:
    """Runs `write` in another process and kills it."""
    pid = os.fork()
    if pid == 0:
        try:
            write(path, acknowledged)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)


@pytest.mark.parametrize("kills", [2, slow(8)])
def test_a_killed_writer_loses_at_most_the_part_in_hand(tmp_path: Path, kills: int) -> None:
    path, acknowledged = tmp_path / "caches" / "store.h5", tmp_path / "acknowledged"
    acknowledged.touch()
    started = time.monotonic()
    write(tmp_path / "undisturbed.h5")
    whole = time.monotonic() - started
    instants = random.Random(3)
    for _ in range(kills):
        killed_after(instants.uniform(0, whole / 3), path, acknowledged)
        with StoreWriter(path, SPEC) as writer:
            assert writer.done >= set(acknowledged.read_text().split())
            assert len(writer.done) % 3 == 0
    write(path)
    require_whole(path)


@pytest.mark.parametrize("instants", [slow((0.02, 0.05, 0.08))])
def test_a_writer_killed_in_the_merge_loses_nothing(tmp_path: Path, instants: tuple[float, ...]) -> None:
    """Many small parts, so that most of the time goes into the merge."""
    path, acknowledged = tmp_path / "caches" / "store.h5", tmp_path / "acknowledged"
    with StoreWriter(path, SPEC) as writer:
        for image in IDS:
            writer.add(rows_of([image]))
    for seconds in instants:
        killed_after(seconds, path, acknowledged)
        with StoreWriter(path, SPEC) as writer:
            assert writer.done == set(IDS)
    write(path)
    require_whole(path)


def test_a_writer_killed_between_the_merge_and_the_removal_of_the_parts_stores_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "store.h5"
    parts, copy = path.with_name("store.h5.parts"), tmp_path / "copy"
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(IDS[:20]))
        writer.add(rows_of(IDS[20:40]))
        shutil.copytree(parts, copy)
        writer.finish()
    shutil.copytree(copy, parts)  # now all is as a kill at that instant leaves it
    (parts / "000000.h5").unlink()  # and the removal had begun
    write(path)
    require_whole(path)


def test_a_failure_that_was_mended_does_not_come_back_from_a_part_that_was_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    part = path.with_name("store.h5.parts") / "000000.h5"
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of([]), [Failure("a.jpg", "OSError: no such disk")])
    with StoreWriter(path, SPEC, retry_failed=True) as writer:
        writer.add(rows_of(["a.jpg"]))
        content = part.read_bytes()
        writer.finish()
    part.parent.mkdir()
    part.write_bytes(content)  # killed between the merge and the removal of this part
    with StoreWriter(path, SPEC) as writer:
        writer.finish()
    assert (FeatureStore(path).ids, FeatureStore(path).failed) == (["a.jpg"], [])


def test_the_parts_of_an_earlier_writer_are_picked_up(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "store.h5"
    failure = Failure("broken.jpg", "OSError: truncated")
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(IDS[:7]), [failure])
    assert not path.exists()
    with StoreWriter(path, SPEC) as writer:
        assert writer.done == {*IDS[:7], "broken.jpg"}
        assert writer.failed == {"broken.jpg": failure}
        writer.add(rows_of(IDS[7:]))
        writer.finish()
    require_whole(path)
    assert FeatureStore(path).failed == [failure]


def test_more_images_are_added_to_a_finished_store_behind_the_ones_it_has(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "store.h5"
    for ids in (IDS[:10], IDS[10:11], IDS[11:]):
        with StoreWriter(path, SPEC) as writer:
            writer.add(rows_of(ids))
            writer.finish()
    require_whole(path)


def test_with_nothing_new_the_store_is_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "caches" / "store.h5"
    write(path)
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
    write(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_an_id_is_refused_a_second_time(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with StoreWriter(path, SPEC) as writer:
        with pytest.raises(StoreError, match=r"(already holds|was given) a.jpg.*ids are unique"):
            writer.add(rows_of(["a.jpg", "b.jpg", "a.jpg"]))
        writer.add(rows_of(["a.jpg", "b.jpg"]))
        with pytest.raises(StoreError, match=r"already holds b.jpg; ids are unique"):
            writer.add(rows_of(["c.jpg", "b.jpg"]))
    for finish in (False, True):  # held by a part, held by the store
        with StoreWriter(path, SPEC) as writer:
            with pytest.raises(StoreError, match=r"already holds a.jpg"):
                writer.add(rows_of(["a.jpg"]))
            if not finish:
                writer.finish()
    assert FeatureStore(path).ids == ["a.jpg", "b.jpg"]


def test_a_feature_beyond_float16_names_the_image_and_float32_holds_it(tmp_path: Path) -> None:
    rows = rows_of(["a.jpg", "big.jpg", "c.jpg"])
    rows.features[1, 2] = -70_000
    with StoreWriter(tmp_path / "half.h5", SPEC) as writer:
        with pytest.raises(StoreError, match=r"^big.jpg has a feature of 70000, beyond float16; .*--dtype float32"):
            writer.add(rows)
        assert writer.done == set()
        writer.add(rows_of(["a.jpg"]))  # what was refused left no trace
        writer.finish()
    with StoreWriter(tmp_path / "single.h5", SPEC, dtype="float32") as writer:
        writer.add(rows)
        writer.finish()
    assert FeatureStore(tmp_path / "half.h5").ids == ["a.jpg"]
    assert FeatureStore(tmp_path / "single.h5").load(["big.jpg"])[0, 2] == -70_000


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_a_finite_number_names_the_image(tmp_path: Path, value: float, dtype: str) -> None:
    rows = rows_of(["a.jpg", "odd.jpg"])
    rows.features[1, 0] = value
    with (
        StoreWriter(tmp_path / "store.h5", SPEC, dtype=dtype) as writer,
        pytest.raises(StoreError, match=r"^odd.jpg has a feature that is not a finite number"),
    ):
        writer.add(rows)


@pytest.mark.parametrize("finish", [True, False], ids=["a store", "a part"])
def test_another_spec_is_refused_with_the_keys_that_differ(tmp_path: Path, finish: bool) -> None:
    path = tmp_path / "store.h5"
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(IDS))
        if finish:
            writer.finish()
    other = {"backbone": {"model": "large", "weights_sha256": "00ff"}, "dtype": "float16", "px": 32}
    with pytest.raises(SpecMismatchError) as caught, StoreWriter(path, other):
        pass
    assert '(backbone.model: "tiny", not "large"; px: null, not 32)' in str(caught.value)
    assert "weights_sha256" not in str(caught.value)
    write(path)
    assert FeatureStore(path).ids == IDS


def test_a_damaged_part_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(IDS))
    part = path.with_name("store.h5.parts") / "000000.h5"
    content = bytearray(part.read_bytes())
    content[content.index(rows_of(IDS).features[:1].astype(np.float16).tobytes())] ^= 1
    part.write_bytes(content)
    with StoreWriter(path, SPEC) as writer, pytest.raises(StoreError, match=r"000000.h5 is damaged"):
        writer.finish()
    assert not path.exists()


def test_a_mended_failure_leaves_the_list_of_failures(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    with StoreWriter(path, SPEC) as writer:
        writer.add(rows_of(["a.jpg"]), [Failure("c.jpg", "OSError: truncated"), Failure("b.jpg", "OSError: empty")])
        writer.finish()
    assert FeatureStore(path).failed == [("b.jpg", "OSError: empty"), ("c.jpg", "OSError: truncated")]
    with StoreWriter(path, SPEC, retry_failed=True) as writer:
        assert writer.done == {"a.jpg"}
        writer.add(rows_of(["b.jpg"]), [Failure("c.jpg", "OSError: still truncated")])
        writer.finish()
    assert FeatureStore(path).ids == ["a.jpg", "b.jpg"]
    assert FeatureStore(path).failed == [("c.jpg", "OSError: still truncated")]


FILL_THE_DISK = """
import resource, sys
sys.path[:0] = sys.argv[2:]
import numpy as np
from feature_cache import Rows, StoreError, StoreWriter
with StoreWriter(sys.argv[1], {"model": "tiny"}) as writer:
    writer.add(Rows(["a.jpg"], np.ones((1, 600_000)), np.ones((1, 2))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, resource.RLIM_INFINITY))
    try:
        writer.add(Rows(["b.jpg"], np.ones((1, 600_000)), np.ones((1, 2))))
    except StoreError as error:
        print(error)
"""


def test_a_full_disk_is_an_error_that_keeps_the_parts_before(tmp_path: Path) -> None:
    """The operating system refuses to let the file grow, as it does on a full disk."""
    path = tmp_path / "store.h5"
    command = [sys.executable, "-c", FILL_THE_DISK, str(path), *(entry for entry in sys.path if entry)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    with StoreWriter(path, {"model": "tiny"}) as writer:
        assert writer.done == {"a.jpg"}
    assert done.returncode == 0, done.stderr[-300:]
    assert "000001.h5 could not be written" in done.stdout
    assert "make room and start again" in done.stdout
