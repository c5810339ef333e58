"""One specific error for each thing that goes wrong, and never a number. More of them in test_store and test_writer."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import feature_cache.new_file
from feature_cache import Failure, FeatureStore, Rows, SpecMismatchError, StoreError, StoreWriter
from probe.errors import UsageError
from probe.extract.match import require_features
from tests.conftest import quick, slow

SPEC = {
    "backbone": {"library": "timm", "model": "vit_b16", "options": {}, "weights_sha256": "00ff"},
    "preprocessing": {"px": 224, "resize": "shortest+crop", "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5]},
    "precision": "float32",
    "dtype": "float16",
    "packages": {"timm": "1.0.15"},
}
DIM = 8
IDS = [f"class {i % 7}/{i:05d}.jpg" for i in range(20_000)]
FAILED = [Failure(f"broken/{i:05d}.jpg", f"OSError: truncated at byte {i}") for i in range(3_000)]


def rows_of(ids: list[str]) -> Rows:
    """Rows with every bit in use, so that a changed byte changes a value."""
    rng = np.random.default_rng(len(ids))
    sizes = rng.integers(1, 1 << 30, (len(ids), 2))
    return Rows(ids, rng.normal(size=(len(ids), DIM)), sizes, rng.integers(1, 1 << 63, len(ids), np.uint64))


def write(path: Path, ids: list[str], spec: dict[str, Any] = SPEC, finish: bool = True) -> Path:
    with StoreWriter(path, spec) as writer:
        writer.add(rows_of(ids), FAILED if ids is IDS else [])
        if finish:
            writer.finish()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with several chunks in every column; the last ones are not full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache.new_file, "CHUNK_BYTES", 1 << 16)
        yield write(tmp_path_factory.mktemp("whole") / "store.h5", IDS)


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(whole, tmp_path / "store.h5"))


# ---- damage ----

COLUMNS: dict[str, Callable[[FeatureStore], Any]] = {
    "features": lambda store: store.load().tolist(),
    "id": lambda store: store.ids,
    "size": lambda store: store.sizes.tolist(),
    "content": lambda store: store.contents.tolist(),
    "failed": lambda store: store.failed,
}


def chunks(path: Path, column: str) -> list[tuple[int, int]]:
    """Where in the file each of the column's chunks lies: (start, length)."""
    with h5py.File(path) as file:
        data = file[column].id  # pyright: ignore
        found = [data.get_chunk_info(i) for i in range(data.get_num_chunks())]
    return [(chunk.byte_offset, chunk.size) for chunk in sorted(found, key=lambda chunk: chunk.chunk_offset)]


def flip(path: Path, position: int, mask: int) -> None:
    """Exclusive or; done twice it mends what it broke."""
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ mask]))


@pytest.mark.parametrize("column", quick(COLUMNS, 2))
def test_a_changed_byte_anywhere_in_a_column_is_an_error_and_spoils_no_other_column(store: Path, column: str) -> None:
    expected = {name: read(FeatureStore(store)) for name, read in COLUMNS.items()}
    places, rng = chunks(store, column), np.random.default_rng(1)
    assert len(places) > 1
    for start, length in places:
        inside = rng.integers(0, length, 3).tolist()
        for position in (0, length // 2, length - 5, length - 1, *inside):
            mask = int(rng.integers(1, 256))
            flip(store, start + position, mask)
            with pytest.raises(StoreError, match=rf"^{store} is damaged \(.*\); .+"):
                COLUMNS[column](FeatureStore(store))
            flip(store, start + position, mask)
    flip(store, places[1][0], 0x10)
    for name in COLUMNS.keys() - {column}:
        assert COLUMNS[name](FeatureStore(store)) == expected[name], name


def test_a_damaged_chunk_is_an_error_for_its_own_rows_and_the_others_are_right(store: Path) -> None:
    expected = FeatureStore(store).load()
    places = chunks(store, "features")
    with h5py.File(store) as file:
        step = file["features"].chunks[0]  # pyright: ignore
    for number, (start, length) in enumerate(places):
        flip(store, start + length // 2, 0x40)
        damaged = FeatureStore(store)
        for first in range(0, len(IDS), step):
            ids = IDS[first : first + step][::-97]
            if first == number * step:
                with pytest.raises(StoreError, match="is damaged"):
                    damaged.load(ids)
                with pytest.raises(StoreError, match="is damaged"):
                    damaged.load([ids[0]])
            else:
                np.testing.assert_array_equal(damaged.load(ids), expected[first : first + step][::-97])
        seen = [block.features for block in until_damaged(damaged.blocks(1000))]
        assert len(seen) <= number * step // 1000
        np.testing.assert_array_equal(np.concatenate([expected[:0], *seen]), expected[: len(seen) * 1000])
        flip(store, start + length // 2, 0x40)


def until_damaged(blocks: Iterator[Rows]) -> Iterator[Rows]:
    with pytest.raises(StoreError, match="is damaged"):
        yield from blocks


@pytest.mark.parametrize("column", ["features", "id", "size", "content"])
def test_a_damaged_store_is_not_merged_into_a_new_one(store: Path, column: str) -> None:
    (*_, (start, _)) = chunks(store, column)
    flip(store, start + 40, 0x08)
    before = store.read_bytes()
    with pytest.raises(StoreError, match=rf"^{store} is damaged"):
        write(store, ["new.jpg"])
    assert store.read_bytes() == before
    if column != "id":  # unreadable ids stop the writer on its way in
        (part,) = store.with_name("store.h5.parts").glob("*.h5")
        assert FeatureStore(part).ids == ["new.jpg"]
    assert not list(store.parent.glob(".*"))


def test_a_file_cut_off_at_any_length_is_an_error(store: Path) -> None:
    content = store.read_bytes()
    edges = [*range(120), *range(len(content) - 40, len(content))]
    middle = np.linspace(120, len(content) - 41, 300).astype(int).tolist()
    for length in [*edges, *middle]:
        store.write_bytes(content[:length])
        with pytest.raises(StoreError, match=rf"^{store} is (not an HDF5 file; delete it|damaged \(.*\); delete it)"):
            FeatureStore(store)


def test_a_part_cut_off_or_emptied_stops_the_writer_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "store.h5", IDS[:30], finish=False)
    part = tmp_path / "store.h5.parts" / "000000.h5"
    content = part.read_bytes()
    for length in (0, 5, 90, len(content) // 2, len(content) - 1):
        part.write_bytes(content[:length])
        with pytest.raises(StoreError, match=rf"^{part} is (not an HDF5 file|damaged)"), StoreWriter(path, SPEC):
            pass
    part.write_bytes(content)
    with StoreWriter(path, SPEC) as writer:
        assert writer.done == set(IDS[:30])


# ---- another spec ----

OTHERS = {
    "another backbone": ("backbone", {"model": "vit_l14"}, 'backbone.model: "vit_b16", not "vit_l14"'),
    "other weights": ("backbone", {"weights_sha256": "00fe"}, 'backbone.weights_sha256: "00ff", not "00fe"'),
    "weights or none": ("backbone", {"weights_sha256": None}, 'backbone.weights_sha256: "00ff", not null'),
    "another size": ("preprocessing", {"px": 256}, "preprocessing.px: 224, not 256"),
    "another resize": ("preprocessing", {"resize": "squash"}, 'preprocessing.resize: "shortest+crop", not "squash"'),
    "another offset": ("preprocessing", {"crop_offset": "floor"}, 'preprocessing.crop_offset: null, not "floor"'),
    "another mean": (
        "preprocessing",
        {"mean": [0.5, 0.5, 0.4]},
        "preprocessing.mean: [0.5,0.5,0.5], not [0.5,0.5,0.4]",
    ),
    "one more option": ("backbone", {"options": {"gelu": "quick"}}, 'gelu: null, not "quick"'),
}


@pytest.mark.parametrize(("section", "change", "said"), OTHERS.values(), ids=OTHERS.keys())
def test_features_of_another_spec_are_neither_read_nor_added_to(
    tmp_path: Path, section: str, change: dict[str, Any], said: str
) -> None:
    other = SPEC | {section: SPEC[section] | change}
    path = write(tmp_path / "store.h5", IDS[:3])
    unfinished = write(tmp_path / "unfinished.h5", IDS[:3], finish=False)
    refusals: list[BaseException] = []
    with pytest.raises(UsageError) as caught:
        require_features(FeatureStore(path), other)
    refusals.append(caught.value)
    for target in (path, unfinished):
        with pytest.raises(SpecMismatchError) as mismatch, StoreWriter(target, other):
            pass
        refusals.append(mismatch.value)
    for refusal, place in zip(refusals, (path, path, f"{unfinished}.parts"), strict=True):
        assert str(refusal).startswith(f"{place} holds other features than the ones asked for (")
        assert said in str(refusal)
        assert str(refusal).count(", not ") == 1  # that key and no other
    require_features(FeatureStore(path), SPEC)
    assert FeatureStore(path).ids == IDS[:3]


def test_features_of_a_key_that_is_not_asked_for_are_of_other_pixels(tmp_path: Path) -> None:
    floored = SPEC | {"preprocessing": SPEC["preprocessing"] | {"crop_offset": "floor"}}
    path = write(tmp_path / "store.h5", IDS[:3], spec=floored)
    require_features(FeatureStore(path), floored)
    with pytest.raises(UsageError, match=r'other features .*\(preprocessing\.crop_offset: "floor", not null\)'):
        require_features(FeatureStore(path), SPEC)


# ---- numbers that the store cannot hold ----


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [(70_000.0, "float16", "70000"), (-65_520.0, "float16", "65520"), (1e39, "float32", "1e+39")],
)
def test_a_feature_out_of_range_names_the_image_the_value_and_the_type(
    tmp_path: Path, value: float, dtype: str, said: str
) -> None:
    rows = rows_of(IDS[:5])
    rows.features[3, 1] = value
    with StoreWriter(tmp_path / "store.h5", SPEC, dtype=dtype) as writer:
        with pytest.raises(StoreError) as caught:
            writer.add(rows)
        assert writer.done == set()
    assert str(caught.value).startswith(f"{IDS[3]} has a feature of {said}, beyond {dtype}")
    assert ("--dtype float32" in str(caught.value)) == (dtype == "float16")


def test_float32_is_no_remedy_for_what_it_cannot_hold_either(tmp_path: Path) -> None:
    rows = rows_of(IDS[:2])
    rows.features[1, 1] = -1e39
    with StoreWriter(tmp_path / "store.h5", SPEC) as writer, pytest.raises(StoreError) as caught:
        writer.add(rows)
    assert str(caught.value).startswith(f"{IDS[1]} has a feature of 1e+39, beyond float16")
    assert "--dtype float32" not in str(caught.value)


@pytest.mark.parametrize(("value", "dtype"), [(65_519.0, "float16"), (-3.4e38, "float32"), (1e-30, "float16")])
def test_a_feature_at_the_end_of_the_range_is_stored_as_the_nearest_number(
    tmp_path: Path, value: float, dtype: str
) -> None:
    rows = rows_of(IDS[:2])
    rows.features[1, 1] = value
    with StoreWriter(tmp_path / "store.h5", SPEC, dtype=dtype) as writer:
        writer.add(rows)
        writer.finish()
    assert FeatureStore(tmp_path / "store.h5").load()[1, 1] == np.dtype(dtype).type(value)


MISFITS = {
    "one size for all": {"sizes": np.ones((1, 2))},
    "sizes of one column": {"sizes": np.ones((4, 1))},
    "one digest for all": {"contents": np.array([7], np.uint64)},
    "a digest too few": {"contents": np.array([7, 8, 9], np.uint64)},
    "features of one dimension": {"features": np.ones(4)},
    "a feature too few": {"features": np.ones((3, DIM))},
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS.keys())
def test_columns_that_do_not_fit_the_ids_are_refused_and_not_stretched(tmp_path: Path, misfit: dict) -> None:
    columns = {"features": np.ones((4, DIM)), "sizes": np.ones((4, 2)), "contents": None} | misfit
    with StoreWriter(tmp_path / "store.h5", SPEC) as writer:
        with pytest.raises(StoreError):
            writer.add(Rows(IDS[:4], **columns))
        writer.add(rows_of(IDS[:4]))
        writer.finish()
    assert not list(tmp_path.glob("**/.*"))


# ---- a full disk ----

WIDE = 600_000  # a row of 1.2 MB, so that a few rows fill a small disk

FILL_AND_MAKE_ROOM = """
import resource, shutil, subprocess, sys
from pathlib import Path
kind, size, folder, copy = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
sys.path[:0] = sys.argv[5:]
from feature_cache import FeatureStore, StoreError, StoreWriter
from tests.feature_cache.test_faults import SPEC, wide_row

def room(megabytes):
    if kind == "tmpfs":
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (megabytes << 20, resource.RLIM_INFINITY))

def write(*ids):
    with StoreWriter(path, SPEC) as writer:
        for image in ids:
            if image not in writer.done:
                writer.add(wide_row(image))
        writer.finish()

if kind == "tmpfs":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], check=True)
path = folder / "store.h5"
write("a.jpg")
before = path.read_bytes()
room(size)
for _ in range(2):
    try:
        write("b.jpg", "c.jpg")
    except StoreError as error:
        print("error:", error)
print("untouched:", path.read_bytes() == before)
print("left over:", *(file.name for file in folder.rglob(".*")))
room(64)
with StoreWriter(path, SPEC) as writer:
    print("kept:", *sorted(writer.done))
write("b.jpg", "c.jpg")
print("files:", *(file.name for file in folder.iterdir()))
shutil.copy(path, copy)
"""


def wide_row(image: str) -> Rows:
    """A row that depends on nothing but its id."""
    digest = hashlib.shake_256(image.encode()).digest(2 * WIDE)
    features = np.frombuffer(digest, np.uint16).reshape(1, WIDE) / 7
    return Rows([image], features, np.array([[len(image), 9]]), np.array([digest[0] + 1], np.uint64))


def columns(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in ("features", "id", "size", "content", "failed")}  # pyright: ignore


def mounting(folder: Path) -> list[str]:
    """What goes in front of a command so that it may mount, where only it sees what it mounts."""
    private = ["unshare", "--map-root-user", "--mount"]
    mount = [*private, "mount", "-t", "tmpfs", "none", str(folder)]
    if not shutil.which("unshare") or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    return private


def filled(kind: str, megabytes: int, tmp_path: Path) -> dict[str, list[str]]:
    """What the script said, by the word in front."""
    (tmp_path / "disk").mkdir()
    arguments = [kind, str(megabytes), str(tmp_path / "disk"), str(tmp_path / "copy.h5"), *filter(None, sys.path)]
    private = mounting(tmp_path) if kind == "tmpfs" else []
    command = [*private, sys.executable, "-c", FILL_AND_MAKE_ROOM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1500:]
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(":")
        said.setdefault(word, []).append(rest.strip())
    return said


@pytest.mark.parametrize(
    ("kind", "megabytes", "file", "kept"),
    [
        ("limit", 1, "000000.h5", "a.jpg"),
        slow("limit", 2, "store.h5", "a.jpg b.jpg c.jpg"),
        slow("tmpfs", 2, "000000.h5", "a.jpg"),
        slow("tmpfs", 3, "000001.h5", "a.jpg b.jpg"),
        slow("tmpfs", 6, "store.h5", "a.jpg b.jpg c.jpg"),
    ],
    ids=["limit, part", "limit, merge", "disk, first part", "disk, second part", "disk, merge"],
)
def test_a_full_disk_keeps_what_is_there_and_with_room_the_store_is_that_of_an_undisturbed_run(
    tmp_path: Path, kind: str, megabytes: int, file: str, kept: str
) -> None:
    said = filled(kind, megabytes, tmp_path)
    assert len(said["error"]) == 2  # the restart without room meets the same
    for error in said["error"]:
        assert f"{file} could not be written (" in error
        assert error.endswith("; make room and start again.")
    assert said["untouched"] == ["True"]
    assert said["left over"] == [""]
    assert said["kept"] == [kept]
    assert said["files"] == ["store.h5"]
    with StoreWriter(tmp_path / "undisturbed.h5", SPEC) as writer:
        for image in ("a.jpg", "b.jpg", "c.jpg"):
            writer.add(wide_row(image))
        writer.finish()
    assert columns(tmp_path / "copy.h5") == columns(tmp_path / "undisturbed.h5")


NO_ROOM_AT_ALL = """
import subprocess, sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.path[:0] = sys.argv[2:]
from feature_cache import StoreError, StoreWriter
from tests.feature_cache.test_faults import SPEC, wide_row
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
try:
    with (folder / "junk").open("wb", buffering=0) as junk:
        while True:
            junk.write(bytes(4096))
except OSError:
    pass
try:
    with StoreWriter(folder / "store.h5", SPEC) as writer:
        writer.add(wide_row("a.jpg"))
except StoreError as error:
    print(error)
"""


def test_a_disk_without_a_single_free_byte_is_the_same_error(tmp_path: Path) -> None:
    """Not even the lock can be written then."""
    command = [*mounting(tmp_path), sys.executable, "-c", NO_ROOM_AT_ALL, str(tmp_path), *filter(None, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "store.h5" in done.stdout
    assert "; make room and start again." in done.stdout
