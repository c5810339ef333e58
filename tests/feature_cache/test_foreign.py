"""Features as other programs write them, right and wrong; every mistake is one sentence that names the file."""

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest

import feature_cache.foreign
from feature_cache import FeatureStore, SpecMismatchError, StoreError, StoreWriter, fingerprint
from feature_cache.foreign import ForeignFeatures, read_foreign

DIM = 5
IDS = [f"class {i % 3}/{name}.jpg" for i, name in enumerate(["a", "été", "猫", "🦊", "x y", "z"])]


def vectors(rows: int = len(IDS), dim: int = DIM, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(dtype)


def imported(found: ForeignFeatures, path: Path) -> FeatureStore:
    with StoreWriter(path, found.spec, dtype=found.dtype) as writer:
        found.write(writer)
    return FeatureStore(path)


def require_imported(tmp_path: Path, path: Path, features: np.ndarray, ids: list[str] = IDS, **options: Any) -> None:
    found = read_foreign(path, **options)
    store = imported(found, tmp_path / "made" / "store.h5")
    assert len(found) == len(ids)
    assert store.ids == ids
    assert store.dtype == features.dtype
    np.testing.assert_array_equal(store.load(), features)
    np.testing.assert_array_equal(store.sizes, 0)
    np.testing.assert_array_equal(store.contents, 0)


def refusal(tmp_path: Path, path: Path, said: str, named: Path | None = None, **options: Any) -> str:
    """Why it is not imported: one sentence in one line that names the file; no store is made."""
    with pytest.raises(StoreError, match=said) as caught:
        imported(read_foreign(path, **options), tmp_path / "made" / "store.h5")
    text = str(caught.value)
    assert str(named or path) in text
    assert "\n" not in text
    assert text.endswith(".")
    assert not (tmp_path / "made" / "store.h5").exists()
    return text


def npy(tmp_path: Path, features: np.ndarray | None = None, ids: list[str] = IDS) -> tuple[Path, Path]:
    np.save(tmp_path / "clip.npy", vectors() if features is None else features)
    (tmp_path / "ids.txt").write_text("".join(f"{image}\n" for image in ids), encoding="utf-8")
    return tmp_path / "clip.npy", tmp_path / "ids.txt"


def parquet(path: Path, features: np.ndarray | pl.Series | None = None, ids: list[str] = IDS, **more: Any) -> Path:
    series = pl.Series(vectors() if features is None else features)
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"id": ids, "vector": series, **more}).write_parquet(path)
    return path


# ---- what can be imported ----


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


LISTS: dict[str, tuple[str, Callable[[list[str]], bytes]]] = {
    "lines": ("ids.txt", lambda ids: "".join(f"{image}\n" for image in ids).encode()),
    "no line break at the end": ("ids.txt", lambda ids: "\n".join(ids).encode()),
    "Windows": ("ids.txt", lambda ids: "\ufeff".encode() + "".join(f"{image}\r\n" for image in ids).encode()),
    "JSON": ("ids.json", lambda ids: json.dumps(ids).encode()),
    "JSON with a mark": ("ids.json", lambda ids: "\ufeff".encode() + json.dumps(ids, ensure_ascii=False).encode()),
    "CSV": ("ids.csv", lambda ids: "\n".join(["label,image", *(f'"a, b","{image}"' for image in ids)]).encode()),
    "CSV of one column": ("ids.csv", lambda ids: "\r\n".join(["\ufeffid", *ids, ""]).encode()),
    "strings of NumPy": ("ids.npy", lambda ids: saved(np.array(ids))),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4"])
@pytest.mark.parametrize(("name", "encoded"), LISTS.values(), ids=LISTS.keys())
def test_an_array_with_a_list_of_ids(tmp_path: Path, name: str, encoded: Callable, dtype: str) -> None:
    path, _ = npy(tmp_path, vectors(dtype=dtype))
    (tmp_path / name).write_bytes(encoded(IDS))
    expected = vectors(dtype=dtype)
    found = read_foreign(path, ids=tmp_path / name)
    store = imported(found, tmp_path / "store.h5")
    assert store.ids == IDS
    np.testing.assert_array_equal(store.load(), expected)


def test_an_array_in_columns_order(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, np.asfortranarray(vectors()))
    np.testing.assert_array_equal(imported(read_foreign(path, ids=ids), tmp_path / "s.h5").load(), vectors())


def test_an_array_with_its_ids_in_a_parquet_column(tmp_path: Path) -> None:
    path, _ = npy(tmp_path)
    pl.DataFrame({"url": ["u"] * 6, "image_path": IDS}).write_parquet(tmp_path / "ids.parquet")
    assert imported(read_foreign(path, ids=tmp_path / "ids.parquet"), tmp_path / "s.h5").ids == IDS
    found = read_foreign(path, ids=str(tmp_path / "ids.parquet"), id_column="image_path")
    assert [shard.ids for shard in found.shards] == [IDS]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("kind", ["Array", "List"])
def test_a_parquet_column_of_vectors(tmp_path: Path, kind: str, dtype: str) -> None:
    column = pl.Series(vectors(dtype=dtype))
    path = parquet(tmp_path / "clip.parquet", column if kind == "Array" else column.arr.to_list())
    require_imported(tmp_path, path, vectors(dtype=dtype))


def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    features = vectors()
    for number, part in ((1, slice(4, 6)), (0, slice(0, 4))):
        parquet(tmp_path / "clip" / f"part-{number}.parquet", features[part], IDS[part])
    (tmp_path / "clip" / "_SUCCESS").touch()
    require_imported(tmp_path, tmp_path / "clip", features)


def test_row_groups_are_read_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache.foreign, "PART_BYTES", 4 * DIM * 4)
    require_imported(tmp_path, parquet(tmp_path / "clip.parquet"), vectors())


def test_one_of_several_columns_of_vectors_can_be_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "clip.parquet", text=pl.Series(vectors(seed=1)), name=IDS[::-1])
    said = r"has 2 columns of floating-point vectors among id, vector, text, name; .* --vector-column"
    refusal(tmp_path, path, said)
    require_imported(tmp_path, path, vectors(seed=1), IDS[::-1], vector_column="text", id_column="name")


def clip_retrieval(folder: Path) -> Path:
    """As `clip-retrieval inference` writes it, in two shards."""
    for number, part in enumerate((slice(0, 4), slice(4, 6))):
        (folder / "img_emb").mkdir(parents=True, exist_ok=True)
        (folder / "metadata").mkdir(exist_ok=True)
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors(dtype="float16")[part])
        frame = pl.DataFrame(
            {"caption": ["c"] * len(IDS[part]), "image_path": [f"/data/{image}" for image in IDS[part]]}
        )
        frame.write_parquet(folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def test_a_folder_of_clip_retrieval(tmp_path: Path) -> None:
    folder = clip_retrieval(tmp_path / "clip")
    require_imported(tmp_path, folder, vectors(dtype="float16"), strip="/data/")
    assert read_foreign(folder).spec["files"] == [sha256(file) for file in sorted(folder.glob("img_emb/*.npy"))]


def ilias(path: Path, features: np.ndarray, ids: list[str]) -> Path:
    """As ILIAS's extract_features.py writes it."""
    with h5py.File(path, "w") as file:
        file.create_dataset("index", data=ids, dtype=h5py.string_dtype(encoding="ascii"))
        file.create_dataset("features", data=features, dtype=features.dtype, compression="gzip", compression_opts=4)
    return path


def test_an_hdf5_file_of_ilias(tmp_path: Path) -> None:
    ids = [f"G{i:03d}/image_queries/Q{i:03d}_00.jpg" for i in range(6)]
    require_imported(
        tmp_path, ilias(tmp_path / "siglip_queries.hdf5", vectors(dtype="float16"), ids), vectors(dtype="float16"), ids
    )


def test_strip_takes_the_front_off_every_id_once(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, ids=[f"a/a/{image}" for image in IDS])
    assert imported(read_foreign(path, ids=ids, strip="a/"), tmp_path / "s.h5").ids == [f"a/{image}" for image in IDS]
    assert "a/a/class 0/a.jpg" in refusal(tmp_path, path, "does not begin with b/.*--strip", ids=ids, strip="b/")


def test_double_precision_is_stored_as_what_dtype_says_and_refused_without(tmp_path: Path) -> None:
    wide = vectors(dtype="float64")
    array, ids = npy(tmp_path, wide)
    refusal(tmp_path, array, r"float64; say what to store with --dtype float32 or float16\.$", ids=ids)
    table = parquet(tmp_path / "clip.parquet", wide)
    refusal(tmp_path, table, r"float64; say what to store with --dtype float32 or float16\.$")
    require_imported(tmp_path, table, wide.astype("float32"), dtype="float32")
    half = imported(read_foreign(array, ids=ids, dtype="float16"), tmp_path / "half.h5")
    np.testing.assert_array_equal(half.load(), wide.astype("float16"))


# ---- what cannot ----


def test_features_and_ids_must_be_as_many(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, ids=IDS[:-1])
    refusal(tmp_path, path, "has 6 features and 5 ids", ids=ids)
    refusal(tmp_path, ilias(tmp_path / "ilias.hdf5", vectors(dtype="float16"), ["a", "b"]), "6 features and 2 ids")


def test_a_list_of_ids_goes_with_an_array_and_with_nothing_else(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    refusal(tmp_path, path, "--ids")
    refusal(tmp_path, parquet(tmp_path / "clip.parquet"), "--ids", ids=ids)


def test_shards_must_be_of_one_dimension_and_one_dtype(tmp_path: Path) -> None:
    folder = clip_retrieval(tmp_path / "clip")
    shard = folder / "img_emb" / "img_emb_1.npy"
    np.save(shard, vectors(2, DIM + 1, "float16"))
    refusal(tmp_path, folder, "has 6 dimensions and .* 5", named=shard)
    np.save(shard, vectors(2, DIM, "float32"))
    refusal(tmp_path, folder, "float16 and float32; .*--dtype")


SHAPES = {
    "a vector": np.ones(6, np.float32),
    "a number": np.array(1.0, np.float32),
    "a stack": np.ones((6, 2, 2), np.float32),
    "integers": np.ones((6, DIM), np.int64),
    "complex": np.ones((6, DIM), np.complex64),
    "records": np.ones(6, [("a", "f4")]),
    "no columns": np.ones((6, 0), np.float32),
}


@pytest.mark.parametrize("features", SHAPES.values(), ids=SHAPES.keys())
def test_an_array_that_is_not_rows_of_floating_point_features_is_refused(tmp_path: Path, features: np.ndarray) -> None:
    path, ids = npy(tmp_path, features)
    refusal(tmp_path, path, r"features are \(N, D\), floating-point", ids=ids)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path, ids = npy(tmp_path, np.array([Trap(sprung)] * 6, object))
    refusal(tmp_path, path, "not a .npy file of numbers", ids=ids)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    refusal(tmp_path, path, "not a .npy file of numbers", ids=ids)
    assert not sprung.exists()


@pytest.mark.parametrize("keep", [0, 3, 20, 100, 150, -1])
def test_a_truncated_array_is_refused(tmp_path: Path, keep: int) -> None:
    path, ids = npy(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    refusal(tmp_path, path, "not a .npy file of numbers", ids=ids)


def test_an_archive_of_arrays_is_not_an_array(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    np.savez(tmp_path / "clip.npz", vectors())
    (tmp_path / "clip.npz").replace(path)
    refusal(tmp_path, path, "not a .npy file of numbers", ids=ids)


@pytest.mark.filterwarnings("ignore")
def test_an_array_whose_header_has_a_flipped_bit_is_refused_or_the_same(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for position in range(64):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            read_foreign(path, ids=ids)
        except StoreError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("keep", [0, 4, 0.5, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = parquet(tmp_path / "clip.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refusal(tmp_path, path, "cannot be read")


@pytest.mark.parametrize("column", ["id", "vector"])
def test_a_parquet_file_with_a_damaged_page_is_refused(tmp_path: Path, column: str) -> None:
    """Behind the magic number comes the first column's first page; its compressed data is overwritten."""
    frame = pl.DataFrame({"id": [f"{i}.jpg" for i in range(500)], "vector": pl.Series(vectors(500).round(1))})
    path = tmp_path / "clip.parquet"
    frame.select(column, *({"id", "vector"} - {column})).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    refusal(tmp_path, path, "cannot be read")


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.csv").write_text("id,vector\na.jpg,0.5\n")
    refusal(tmp_path, tmp_path / "clip.csv", "is neither .npy, .parquet, a folder of clip-retrieval, nor HDF5")
    (tmp_path / "empty").mkdir()
    refusal(tmp_path, tmp_path / "empty", "holds no features")
    refusal(tmp_path, tmp_path / "nowhere.npy", "There is nothing at", ids="ids.txt")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = vectors()
    refusal(tmp_path, tmp_path / "other.h5", "index")
    with h5py.File(tmp_path / "numbered.h5", "w") as file:
        file["features"], file["index"] = vectors(), np.arange(6)
    refusal(tmp_path, tmp_path / "numbered.h5", "is neither")


def test_a_shard_of_clip_retrieval_without_its_metadata_is_refused(tmp_path: Path) -> None:
    folder = clip_retrieval(tmp_path / "clip")
    metadata = folder / "metadata" / "metadata_1.parquet"
    metadata.unlink()
    refusal(tmp_path, folder, "cannot be read", named=metadata)


def test_an_hdf5_file_with_a_damaged_chunk_is_refused(tmp_path: Path) -> None:
    path = ilias(tmp_path / "ilias.hdf5", vectors(dtype="float16"), [f"{i}.jpg" for i in range(6)])
    with h5py.File(path) as file:
        chunk = file["features"].id.get_chunk_info(0)  # pyright: ignore
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    refusal(tmp_path, path, "cannot be read .*fetch it again")


def test_ids_that_occur_twice_are_refused_within_a_file_and_between_files(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, ids=[*IDS[:5], IDS[0]])
    assert IDS[0] in refusal(tmp_path, path, "1 ids occur more than once", ids=ids)
    for number in range(2):
        parquet(tmp_path / "clip" / f"{number}.parquet", vectors(seed=number))
    refusal(tmp_path, tmp_path / "clip", "6 ids occur more than once")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_feature_that_cannot_be_stored_names_its_image_and_the_file(tmp_path: Path, value: float) -> None:
    features = vectors(dtype="float64")
    features[3, 1] = value
    path, ids = npy(tmp_path, features)
    assert IDS[3] in refusal(tmp_path, path, "has a feature", ids=ids, dtype="float32")


@pytest.mark.parametrize("ids", [[*IDS[:5], ""], [*IDS[:5], "a\0b"]], ids=["empty", "NUL"])
def test_what_is_no_id_names_the_file(tmp_path: Path, ids: list[str]) -> None:
    path, _ = npy(tmp_path)
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    refusal(tmp_path, path, "is not an id", ids=tmp_path / "ids.json")


BAD_LISTS = {
    "absent": (None, "ids.txt"),
    "Latin-1": ("été.jpg\n".encode("latin-1"), "ids.txt"),
    "cut off": (b'["a.jpg", "b', "ids.json"),
    "a mapping": (b'{"a.jpg": 1}', "ids.json"),
    "numbers": (b"[1, 2, 3, 4, 5, 6]", "ids.json"),
    "text as Parquet": (b"a.jpg\n", "ids.parquet"),
    "text as NumPy": (b"a.jpg\n", "ids.npy"),
    "numbers of NumPy": (saved(np.arange(6)), "ids.npy"),
    "CSV of other columns": (b"label,split\nx,train\n", "ids.csv"),
    "CSV with an empty id": (b"image,label\na.jpg,x\n,y\n", "ids.csv"),
}


@pytest.mark.parametrize(("content", "name"), BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_list_of_ids_that_is_none_is_refused(tmp_path: Path, content: bytes | None, name: str) -> None:
    path, ids = npy(tmp_path)
    ids.unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    said = "cannot be read|is not a JSON list|ids are .N,. strings|has no column of ids|row 2 has no id|is not a .npy"
    refusal(tmp_path, path, said, named=tmp_path / name, ids=tmp_path / name)


def test_a_parquet_file_without_a_column_of_ids_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.parquet"
    pl.DataFrame({"file": IDS, "number": range(6), "vector": pl.Series(vectors())}).write_parquet(path)
    said = "has no column of ids among file, number, vector; call one of text image_path, .* name it with --id-column"
    refusal(tmp_path, path, said)
    refusal(tmp_path, path, "has no column of ids", id_column="number")
    refusal(tmp_path, path, "has no column of ids", id_column="nowhere")
    require_imported(tmp_path, path, vectors(), id_column="file")


@pytest.mark.parametrize("column", ["nowhere", "score", "name"])
def test_a_column_that_holds_no_vectors_is_refused(tmp_path: Path, column: str) -> None:
    path = parquet(tmp_path / "clip.parquet", score=vectors()[:, 0], name=IDS[::-1])
    refusal(tmp_path, path, rf"no column {column} of floating-point vectors", vector_column=column)


COLUMNS = {
    "one vector is shorter": [[1.0, 2.0], [1.0, 2.0], [1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
    "one vector is missing": [[1.0, 2.0], None, [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
    "the first is missing": [None, *[[1.0, 2.0]] * 5],
    "a number is missing": [[1.0, 2.0], [1.0, None], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
    "vectors are empty": [[]] * 6,
    "vectors of vectors": [[[1.0, 2.0]]] * 6,
    "integers": [[1, 2]] * 6,
    "texts": [["1", "2"]] * 6,
}


@pytest.mark.parametrize("part_bytes", [1 << 28, 2 * 4 * 2], ids=["at once", "in parts"])
@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS.keys())
def test_a_column_of_vectors_with_a_fault_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list, part_bytes: int
) -> None:
    monkeypatch.setattr(feature_cache.foreign, "PART_BYTES", part_bytes)
    path = parquet(tmp_path / "clip.parquet", pl.Series(values, strict=False))
    refusal(tmp_path, path, "clip", dtype="float32")


def test_a_column_of_matrices_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "clip.parquet", pl.Series(np.ones((6, 2, 3), np.float32)))
    refusal(tmp_path, path, "has 0 columns of floating-point vectors")


def test_a_missing_id_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "clip.parquet"
    pl.DataFrame({"id": [*IDS[:4], None, IDS[5]], "vector": pl.Series(vectors())}).write_parquet(path)
    refusal(tmp_path, path, "row 4 has no id in the column id")


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path, _ = npy(tmp_path, np.empty((0, DIM), np.float32))
    (tmp_path / "ids.json").write_text("[]")
    refusal(tmp_path, path, "holds no features", ids=tmp_path / "ids.json")


# ---- what is recorded ----


def test_the_spec_says_that_it_is_foreign_and_which_files_and_ids_it_was(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    spec = read_foreign(path, ids=ids).spec
    assert (spec["provenance"], spec["format"], spec["dtype"]) == ("foreign", "npy", "float32")
    assert spec["files"] == [sha256(path)]
    assert read_foreign(path, ids=ids).spec == spec
    json.dumps(spec)
    fingerprints = {fingerprint(spec)}
    fingerprints.add(fingerprint(read_foreign(path, ids=ids, dtype="float16").spec))
    fingerprints.add(fingerprint(read_foreign(path, ids=ids, strip="class ").spec))
    npy(tmp_path, ids=IDS[::-1])
    fingerprints.add(fingerprint(read_foreign(path, ids=ids).spec))
    npy(tmp_path, vectors(seed=1))
    fingerprints.add(fingerprint(read_foreign(path, ids=ids).spec))
    assert len(fingerprints) == 5


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_spec_does_not_depend_on_where_the_file_lies_or_from_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clip_retrieval(tmp_path / "clip")
    expected = read_foreign(folder).spec
    (tmp_path / "elsewhere").mkdir()
    assert read_foreign(shutil.copytree(folder, tmp_path / "elsewhere" / "clip")).spec == expected
    monkeypatch.chdir(folder)
    assert read_foreign(Path()).spec == expected
    assert read_foreign("../clip").spec == expected


def test_the_same_import_again_adds_nothing_and_leaves_the_store_untouched(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    store = imported(read_foreign(path, ids=ids), tmp_path / "made" / "store.h5").path
    before = store.stat().st_ino, store.stat().st_mtime_ns, store.read_bytes()
    imported(read_foreign(path, ids=ids), store)
    assert (store.stat().st_ino, store.stat().st_mtime_ns, store.read_bytes()) == before
    assert list(store.parent.iterdir()) == [store]


def test_another_file_is_not_added_to_the_store_of_the_first(tmp_path: Path) -> None:
    path, ids = npy(tmp_path)
    store = imported(read_foreign(path, ids=ids), tmp_path / "store.h5").path
    npy(tmp_path, vectors(seed=1), [f"more/{image}" for image in IDS])
    with pytest.raises(SpecMismatchError, match=r"files: "):
        imported(read_foreign(path, ids=ids), store)
    assert FeatureStore(store).ids == IDS


def test_an_import_that_is_interrupted_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache.foreign, "PART_BYTES", 2 * DIM * 4)
    path, ids = npy(tmp_path)
    store = tmp_path / "made" / "store.h5"
    found = read_foreign(path, ids=ids)
    seen: list[int] = []

    def interrupt(rows: int) -> None:
        seen.append(rows)
        if sum(seen) == 4:
            raise KeyboardInterrupt

    with StoreWriter(store, found.spec, dtype=found.dtype) as writer, pytest.raises(KeyboardInterrupt):
        found.write(writer, interrupt)
    assert not store.exists()
    with StoreWriter(store, found.spec, dtype=found.dtype) as writer:
        assert writer.done == set(IDS[:4])
        parts = {part: part.read_bytes() for part in writer.parts_folder.iterdir()}
        seen = [9]
        found.write(writer, interrupt)
    assert len(parts) == 2
    assert sum(seen) == 9 + len(IDS)
    assert FeatureStore(store).ids == IDS
    np.testing.assert_array_equal(FeatureStore(store).load(), vectors())
