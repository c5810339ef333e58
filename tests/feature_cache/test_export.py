import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import feature_cache.new_file
import feature_cache.store
from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter, export_npy, read_foreign

SPEC = {"model": "tiny"}
DIM = 6
IDS = [f"class {i % 5}/é {i:03d}.jpg" for i in range(23)]
ODD = ["a\u2028b.jpg", "a\x0cb.jpg", "a\x85b.jpg", " ", "日本語/猫.png", "🦊.webp"]


def written(path: Path, ids: list[str] = IDS, dtype: str = "float16") -> FeatureStore:
    rng = np.random.default_rng(len(ids))
    with StoreWriter(path, SPEC, dtype=dtype) as writer:
        rows = Rows(ids, rng.normal(size=(len(ids), DIM)), rng.integers(1, 999, (len(ids), 2)))
        writer.add(rows, [Failure("broken.jpg", "OSError: truncated")])
        writer.finish()
    return FeatureStore(path)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_array_is_the_features_bit_for_bit_and_the_list_is_the_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(feature_cache.new_file, "CHUNK_BYTES", DIM * 2)
    monkeypatch.setattr(feature_cache.store, "CHUNKS_PER_BLOCK", 3)
    store = written(tmp_path / "store.h5", dtype=dtype)
    seen: list[int] = []
    path = tmp_path / "new" / "folder" / "clip.v1.npy"
    ids = export_npy(store, path, seen.append)
    assert ids == path.with_name("clip.v1.ids.txt")
    features = np.load(path)
    assert features.dtype == store.dtype
    assert features.tobytes() == store.load().tobytes()
    assert features.shape == (len(IDS), DIM)
    assert lines(ids) == store.ids == IDS
    assert len(seen) > 1
    assert sum(seen) == len(IDS)
    assert {file.name for file in path.parent.iterdir()} == {"clip.v1.npy", "clip.v1.ids.txt"}


def test_the_array_is_what_numpy_itself_would_have_written(tmp_path: Path) -> None:
    store = written(tmp_path / "store.h5")
    export_npy(store, tmp_path / "clip.npy")
    np.save(tmp_path / "numpy.npy", store.load())
    assert (tmp_path / "clip.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_store_without_rows_gives_an_empty_array_and_an_empty_list(tmp_path: Path) -> None:
    ids = export_npy(written(tmp_path / "store.h5", []), tmp_path / "clip.npy")
    assert np.load(tmp_path / "clip.npy").shape == (0, DIM)
    assert ids.read_bytes() == b""


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_exported_and_imported_again_has_the_same_ids_and_features(tmp_path: Path, dtype: str) -> None:
    store = written(tmp_path / "store.h5", IDS + ODD, dtype)
    ids = export_npy(store, tmp_path / "clip.npy")
    found = read_foreign(tmp_path / "clip.npy", ids=ids)
    with StoreWriter(tmp_path / "again.h5", found.spec, dtype=found.dtype) as writer:
        found.write(writer)
    again = FeatureStore(tmp_path / "again.h5")
    assert again.ids == store.ids
    assert again.dtype == store.dtype
    assert again.load().tobytes() == store.load().tobytes()


@pytest.mark.parametrize("there", ["clip.npy", "clip.ids.txt"])
def test_neither_file_is_overwritten(tmp_path: Path, there: str) -> None:
    store = written(tmp_path / "store.h5")
    (tmp_path / there).write_text("mine")
    with pytest.raises(StoreError, match=rf"^{tmp_path / there} exists already; delete it or name another file\.$"):
        export_npy(store, tmp_path / "clip.npy")
    assert (tmp_path / there).read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5", there}


@pytest.mark.parametrize("image", ["a\nb.jpg", "a\rb.jpg", "a.jpg\n"])
def test_an_id_with_a_line_break_is_refused(tmp_path: Path, image: str) -> None:
    store = written(tmp_path / "store.h5", [*IDS, image])
    with pytest.raises(StoreError, match=r"store.h5: the id '.*\\[nr].*' has a line break") as caught:
        export_npy(store, tmp_path / "clip.npy")
    assert "\n" not in str(caught.value)
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5"}


@pytest.mark.parametrize("name", ["clip", "clip.npz", "clip.npy.gz"])
def test_another_ending_than_npy_is_refused(tmp_path: Path, name: str) -> None:
    store = written(tmp_path / "store.h5")
    with pytest.raises(StoreError, match=rf"{name} does not end in \.npy"):
        export_npy(store, tmp_path / name)
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5"}


def test_a_damaged_store_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache.new_file, "CHUNK_BYTES", DIM * 2)
    monkeypatch.setattr(feature_cache.store, "CHUNKS_PER_BLOCK", 3)
    store = written(tmp_path / "store.h5")
    content = bytearray(store.path.read_bytes())
    content[content.index(store.load()[-1].tobytes())] ^= 1
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store.h5 is damaged"):
        export_npy(FeatureStore(store.path), tmp_path / "clip.npy")
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5"}


def test_an_interrupted_export_leaves_no_half_file(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_npy(written(tmp_path / "store.h5"), tmp_path / "clip.npy", interrupt)
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5"}


EXPORT_ON_A_FULL_DISK = """
import resource, sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from feature_cache import FeatureStore, StoreError, export_npy
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.RLIM_INFINITY))
try:
    export_npy(FeatureStore(sys.argv[1]), Path(sys.argv[2]))
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize(("rows", "length"), [(3000, 4), (300, 200)], ids=["in the array", "in the ids"])
def test_a_full_disk_is_an_error_that_leaves_no_half_file(tmp_path: Path, rows: int, length: int) -> None:
    """The operating system refuses to let a file grow, as it does on a full disk."""
    store = written(tmp_path / "store.h5", [f"{i:0{length}d}" for i in range(rows)])
    path = tmp_path / "clip.npy"
    command = [sys.executable, "-c", EXPORT_ON_A_FULL_DISK, str(store.path), str(path), *filter(None, sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"{path} could not be written (File too large); make room"), done.stderr[-500:]
    assert {file.name for file in tmp_path.iterdir()} == {"store.h5"}
    export_npy(store, path)
    assert np.load(path).shape == (rows, DIM)
