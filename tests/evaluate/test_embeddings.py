"""Embeddings in every form that they come in are the vectors that were written, in any order; bad ones are told."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from feature_cache import Rows, StoreError, StoreWriter
from probe.data.manifest import Manifest
from probe.errors import UsageError
from probe.evaluate import embeddings as embeddings_module
from probe.evaluate.embeddings import read_embeddings

DIM = 3
NFC = "test/café.jpg"
NFD = unicodedata.normalize("NFD", NFC)


def manifest(sources: tuple[str, ...] = ("small",)) -> Manifest:
    """Per source: a training image, and in the test split two classes, one image of them under two labels."""
    rows = [
        (image, source, label, source, image.split("/")[0], "train" if image.startswith("train") else role)
        for source in sources
        for image, label, role in [
            ("train/0.jpg", "a", ""),
            ("test/0.jpg", "a", "both"),
            ("test/1.jpg", "a", "both"),
            (NFC, "b", "query"),
            ("test/3.jpg", "b", "index"),
            ("test/3.jpg", "a", "index"),
        ]
    ]
    return Manifest(pl.DataFrame(rows, ["image", "source", "label", "domain", "split", "role"], orient="row"))


IDS = ["test/3.jpg", "train/0.jpg", NFD, "elsewhere.jpg", "test/1.jpg", "test/0.jpg"]
VECTORS = np.random.default_rng(0).normal(size=(6, DIM)).astype(np.float32)
EXPECTED = VECTORS[[5, 4, 2, 0, 0]]


def npy(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, Path]:
    np.save(folder / "mine.npy", vectors)
    (folder / "ids.txt").write_text("".join(f"{image}\n" for image in ids), encoding="utf-8")
    return folder / "mine.npy", folder / "ids.txt"


def npy_with_strings(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, Path]:
    np.save(folder / "ids.npy", np.array(ids))
    return npy(folder, vectors, ids)[0], folder / "ids.npy"


def npy_with_bytes(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, Path]:
    np.save(folder / "ids.npy", np.array([image.encode() for image in ids]))
    return npy(folder, vectors, ids)[0], folder / "ids.npy"


def npy_with_csv(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, Path]:
    pl.DataFrame({"number": range(len(ids)), "image": ids}).write_csv(folder / "ids.csv")
    return npy(folder, vectors, ids)[0], folder / "ids.csv"


def npy_with_parquet(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, Path]:
    pl.DataFrame({"image": ids}).write_parquet(folder / "ids.parquet")
    return npy(folder, vectors, ids)[0], folder / "ids.parquet"


def npz(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    np.savez(folder / "mine.npz", embeddings=vectors, ids=np.array(ids))
    return folder / "mine.npz", None


def hdf5(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    (folder / "mine.hdf5").unlink(missing_ok=True)  # HDF5 writes no file that is open
    with h5py.File(folder / "mine.hdf5", "w") as file:
        file["descriptors"], file["ids"], file["number"] = vectors, ids, np.arange(len(ids))
    return folder / "mine.hdf5", None


def store(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    with StoreWriter(folder / "mine.h5", {"made": "here"}, dtype="float32") as writer:
        writer.add(Rows(ids, vectors.astype(np.float32), np.ones((len(ids), 2), np.int32)))
        writer.finish()
    return folder / "mine.h5", None


def parquet(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    pl.DataFrame({"id": ids, "vector": pl.Series(vectors)}).write_parquet(folder / "mine.parquet")
    return folder / "mine.parquet", None


def folder_of_parquet(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    for number, part in enumerate((slice(0, 2), slice(2, None))):
        (folder / str(number)).mkdir()
        file, _ = parquet(folder / str(number), vectors[part], ids[part])
        (folder / "all").mkdir(exist_ok=True)
        file.rename(folder / "all" / f"{number}.parquet")
    return folder / "all", None


def flat_json(folder: Path, vectors: np.ndarray, ids: list[str]) -> tuple[Path, None]:
    """As extract_dir_descriptors.py writes it."""
    (folder / "descriptors.json").write_text(json.dumps({"descriptors": vectors.tolist(), "paths": ids}))
    return folder / "descriptors.json", None


FORMS = [
    npy, npy_with_strings, npy_with_bytes, npy_with_csv, npy_with_parquet, npz, hdf5, store, parquet, folder_of_parquet,
    flat_json,
]  # fmt: skip
Form = Callable[[Path, np.ndarray, list[str]], tuple[Path, Path | None]]


def read(path: Path, ids: Path | None = None, of: Manifest | None = None, **options: str) -> np.ndarray:
    vectors = read_embeddings(path, of or manifest(), ids=ids, **options).vectors("test", "cosine")
    return vectors.block(0, len(vectors)).numpy()


def refused(says: str, path: Path, ids: Path | None = None, of: Manifest | None = None, **options: str) -> None:
    with pytest.raises((UsageError, StoreError), match=says) as caught:
        read(path, ids, of, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_each_row_gets_the_vector_of_its_image_in_whatever_order_they_were_written(tmp_path: Path, form: Form) -> None:
    path, ids = form(tmp_path, VECTORS, IDS)
    np.testing.assert_array_equal(read(path, ids), EXPECTED)
    assert read_embeddings(path, manifest(), ids=ids).unknown == 1


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
@pytest.mark.parametrize("form", [npy, npz, hdf5])
def test_any_float_is_taken_as_it_is(tmp_path: Path, form: Form, dtype: str) -> None:
    found = read(*form(tmp_path, VECTORS.astype(dtype), IDS))
    np.testing.assert_array_equal(found, EXPECTED.astype(dtype))
    assert found.dtype == (np.float64 if dtype == "<f8" else np.float32)


def test_rows_are_read_in_blocks_that_divide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_module, "BLOCK_BYTES", 4 * DIM * 4)
    for form in (npy, hdf5, folder_of_parquet):
        np.testing.assert_array_equal(read(*form(tmp_path, VECTORS, IDS)), EXPECTED)


def test_an_array_of_numbers_stays_on_disk(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, VECTORS, IDS)
    assert isinstance(read_embeddings(path, manifest(), ids=ids).vectors("test", "cosine").values, np.memmap)


def test_what_stands_in_front_of_each_id_can_be_taken_off(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, VECTORS, [f"/photos/{image}" for image in IDS])
    np.testing.assert_array_equal(read(path, ids, strip="/photos/"), EXPECTED)
    refused("the id /photos/test/3.jpg does not begin with /data/, which --strip takes off", path, ids, strip="/data/")


def two_sources() -> tuple[Manifest, list[str], np.ndarray]:
    ids = [f"{source}/{image}" for source in ("a", "b") for image in IDS]
    return manifest(("a", "b")), ids, np.concatenate([VECTORS, -VECTORS])


def test_images_of_two_sources_under_one_path_are_told_apart_by_their_source(tmp_path: Path) -> None:
    of, ids, vectors = two_sources()
    expected = np.concatenate([EXPECTED, -EXPECTED])
    np.testing.assert_array_equal(read(*npy(tmp_path, vectors, ids), of), expected)
    columns = {"image": [image.partition("/")[2] for image in ids], "source": [image[0] for image in ids]}
    pl.DataFrame(columns).write_csv(tmp_path / "ids.csv")
    np.testing.assert_array_equal(read(tmp_path / "mine.npy", tmp_path / "ids.csv", of), expected)


def test_a_path_that_two_sources_share_is_no_id(tmp_path: Path) -> None:
    refused(
        "the id test/3.jpg means an image of a and one of b; write source/image",
        *npy(tmp_path, VECTORS, IDS),
        of=manifest(("a", "b")),
    )


def test_images_without_an_embedding_are_counted_and_the_first_five_named(tmp_path: Path) -> None:
    path, ids = npy(tmp_path, VECTORS[:4], IDS[:4])
    refused(r"lacks 2 of the 4 images of the test split of the manifest \(test/0.jpg, test/1.jpg\)", path, ids)
    of, _, _ = two_sources()
    refused(
        r"lacks 8 of the 8 .* \(a/test/0.jpg, .*, b/test/0.jpg, \.\.\.\)", *npy(tmp_path, VECTORS[:1], ["x"]), of=of
    )


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (lambda image: f"/my data/{image}", "is /my data/test/0.jpg one of them. then add --strip '/my data/'"),
        (
            lambda image: image.replace("/", "\\"),
            "is test.0.jpg one of them. then write ids with / for",
        ),
        (lambda image: f"x{image}", r"an id of the file: xtest/3.jpg\)\.$"),
    ],
)
def test_ids_that_begin_differently_are_told_what_to_take_off(
    tmp_path: Path, written: Callable[[str], str], says: str
) -> None:
    refused(says, *npy(tmp_path, VECTORS, [written(image) for image in IDS]))


def test_no_prefix_is_proposed_where_some_ids_are_known(tmp_path: Path) -> None:
    refused(r"an id of the file: other/test/0.jpg\)\.$", *npy(tmp_path, VECTORS[:2], ["other/test/0.jpg", IDS[0]]))


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["test/0.jpg"] * 2, "1 ids? occur more than once .test/0.jpg."),
        ([NFC, NFD], "has 1 id.s. more than once, the first is test/café.jpg"),
        (["test/0.jpg", "small/test/0.jpg"], "the ids test/0.jpg and small/test/0.jpg mean one image"),
    ],
)
def test_two_vectors_of_one_image_are_refused(tmp_path: Path, ids: list[str], says: str) -> None:
    refused(says, *npy(tmp_path, VECTORS[:2], ids))


@pytest.mark.parametrize("form", [npy, hdf5])
def test_a_vector_that_cannot_be_compared_names_its_image(tmp_path: Path, form: Form) -> None:
    for value, says in ((np.nan, "not finite"), (np.inf, "not finite"), (0, "zero, which has no direction")):
        bad = VECTORS.copy()
        bad[[1, 3]] = value  # images that are not asked for
        np.testing.assert_array_equal(read(*form(tmp_path, bad, IDS)), EXPECTED)
        bad[4] = value
        path, ids = form(tmp_path, bad, IDS)
        refused(f"the embedding of test/1.jpg is {says}", path, ids)
    read_embeddings(path, manifest(), ids=ids).vectors("test", "euclidean")


def test_what_is_no_matrix_of_floats_with_as_many_ids_is_refused(tmp_path: Path) -> None:
    for vectors in (VECTORS.astype(int), VECTORS[0], VECTORS[:, :0]):
        refused(r"holds \w+ of shape .*; features are \(N, D\), floating-point", *npy(tmp_path, vectors, IDS))
    refused("has 5 features and 6 ids", *npy(tmp_path, VECTORS[:5], IDS))
    refused("say with --ids which image each row is of", npy(tmp_path, VECTORS, IDS)[0])
    refused("has its ids in it, so leave --ids out", npz(tmp_path, VECTORS, IDS)[0], tmp_path / "ids.txt")
    refused("there is no .*nowhere.txt, which --ids names", tmp_path / "mine.npy", tmp_path / "nowhere.txt")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array(IDS, object))
    refused("objects.npy is not a .npy file of numbers", tmp_path / "objects.npy", npy(tmp_path, VECTORS, IDS)[1])
    refused("objects.npy is not a .npy file of numbers", tmp_path / "mine.npy", tmp_path / "objects.npy")
    (tmp_path / "pickle.npy").write_bytes(np.array(IDS, object).dumps())
    for path, ids in (("pickle.npy", "objects.npy"), ("mine.npy", "pickle.npy")):
        refused(r"not a .npy file of numbers or texts \((?!.*allow_pickle)", tmp_path / path, tmp_path / ids)
    np.savez(tmp_path / "mine.npz", embeddings=VECTORS, ids=np.array(IDS, object))
    refused("cannot be read as .npz without pickle", tmp_path / "mine.npz")


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "mine.npz", embeddings=np.zeros((100_000, DIM)), ids=np.array(IDS))
    refused("unpacks to more than 100 times its size", tmp_path / "mine.npz")


def test_what_is_no_file_of_embeddings_is_told_what_is(tmp_path: Path) -> None:
    accepted = r"UnED's JSON of descriptors \(.json\), .npy with --ids, .npz with .*, HDF5 .*, or .parquet"
    for name in ("mine.pkl", "mine.pt", "mine"):
        (tmp_path / name).write_bytes(b"something")
        refused(f"{name} is none of what embeddings come as: {accepted}", tmp_path / name)
    refused(f"there is nothing at .*nothing.npy to score; name a run's folder, .* {accepted}", tmp_path / "nothing.npy")
    for name in ("mine.json", "mine.npy", "mine.npz", "mine.h5", "mine.parquet"):
        (tmp_path / name).write_bytes(b"")
        refused(f"{name} is empty; .* {accepted}", tmp_path / name)
        (tmp_path / name).write_bytes(b"something else")
        ids = tmp_path / "ids.txt" if name == "mine.npy" else None
        (tmp_path / "ids.txt").write_text("\n".join(IDS))
        refused(name, tmp_path / name, ids)
    (tmp_path / "empty").mkdir()
    refused("empty holds no features", tmp_path / "empty")


def test_archives_and_tables_without_their_columns_are_told_which(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", features=VECTORS, ids=np.array(IDS))
    refused("has no array `embeddings` among features, ids", tmp_path / "mine.npz")
    pl.DataFrame({"file": IDS}).write_csv(tmp_path / "ids.csv")
    refused("ids.csv has no column 'image' of text; known: file", npy(tmp_path, VECTORS, IDS)[0], tmp_path / "ids.csv")
    pl.DataFrame({"image": [None, *IDS[1:]]}).write_csv(tmp_path / "ids.csv")
    refused("ids.csv: row 1 has no image", tmp_path / "mine.npy", tmp_path / "ids.csv")
    (tmp_path / "ids.txt").write_text("")
    refused("has 6 features and 0 ids", tmp_path / "mine.npy", tmp_path / "ids.txt")
    whole = npz(tmp_path, VECTORS, IDS)[0].read_bytes()
    for damaged in (whole[:-30], (tmp_path / "mine.npy").read_bytes()):
        (tmp_path / "mine.npz").write_bytes(damaged)
        refused("is no .npz archive, or is cut off", tmp_path / "mine.npz")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"], file["ids"] = VECTORS, VECTORS, IDS
    refused("2 datasets of vectors among a, b, ids", tmp_path / "two.h5")


@pytest.mark.parametrize("form", [npz, store])
def test_a_flipped_byte_is_seen_where_there_is_a_checksum(tmp_path: Path, form: Form) -> None:
    path, _ = form(tmp_path, VECTORS, IDS)
    content = bytearray(path.read_bytes())
    content[content.index(VECTORS[2].tobytes())] ^= 1
    path.write_bytes(content)
    refused(path.name, path)


INFO = {
    "cars/test.json": ["cars/test/0.jpg", "cars/test/1.jpg"],
    "met/test.json": ["met/q.jpg"],
    "met/index.json": ["met/0.jpg", "met/1.jpg"],
}


def info_files(folder: Path) -> Path:
    for name, paths in INFO.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps([{"path": path, "class_id": 0} for path in paths]))
    return folder


def uned() -> Manifest:
    rows = [
        (image, source, "0", source, "test", role)
        for source, image, role in [
            ("met", "1.jpg", "index"),
            ("met", "q.jpg", "query"),
            ("met", "0.jpg", "index"),
            ("cars196", "test/1.jpg", "both"),
            ("cars196", "test/0.jpg", "both"),
        ]
    ]
    return Manifest(pl.DataFrame(rows, ["image", "source", "label", "domain", "split", "role"], orient="row"))


def descriptors(folder: Path, content: object) -> Path:
    (folder / "descriptors.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "descriptors.json"


CARS, QUERY, INDEX = VECTORS[:2].tolist(), VECTORS[2:3].tolist(), VECTORS[3:5].tolist()
IN_ORDER = VECTORS[[4, 2, 3, 1, 0]]


@pytest.mark.parametrize("wrapped", [True, False], ids=["as the code writes it", "as its README has it"])
@pytest.mark.parametrize("indent", [None, 2])
def test_uneds_descriptors_are_in_the_order_of_its_info_files(
    tmp_path: Path, wrapped: bool, indent: int | None
) -> None:
    parts = {name: [rows] if wrapped else rows for name, rows in (("cars", CARS), ("query", QUERY), ("index", INDEX))}
    other = [[[9.0, 9.0, 9.0]]]  # training descriptors are passed over
    content = {
        "cars": {"train": other, "test": parts["cars"]},
        "met": {"test": parts["query"], "index": parts["index"]},
    }
    path = descriptors(tmp_path, json.dumps(content, indent=indent))
    np.testing.assert_array_equal(read(path, info_files(tmp_path / "info_files"), uned()), IN_ORDER)


def test_descriptors_of_another_manifest_are_known_by_the_paths_of_the_info_files(tmp_path: Path) -> None:
    (tmp_path / "info" / "mine").mkdir(parents=True)
    (tmp_path / "info" / "mine" / "test.json").write_text(json.dumps([{"path": image} for image in IDS]))
    path = descriptors(tmp_path, {"mine": {"test": VECTORS.tolist()}})
    np.testing.assert_array_equal(read(path, tmp_path / "info"), EXPECTED)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"cars": {"test": [CARS[:1]]}}, "cars/test has 1 descriptors and its info file 2 images"),
        ({"cars": {"test": [[CARS[0], CARS[1][:2]]]}}, "row 2 of cars/test has 2 numbers, the first row 3"),
        ({"cars": {"test": [[CARS[0], ["a", 1, 2]]]}}, "row 2 of cars/test is no list of numbers"),
        ({"cars": {"test": [[CARS[0], [None, 1, 2]]]}}, "row 2 of cars/test is no list of numbers"),
        ({"cars": {"test": CARS[0]}}, "a list of vectors should begin"),
        ({"cars": {"test": []}}, "a list of vectors should begin"),
        ({"cars": {"test": [CARS, CARS]}}, "should be"),
        ({"cars": CARS}, "has 'cars'|neither 'descriptors' nor 'paths'"),
        ({"cars": {"test": [CARS]}, "met": {"test": [[[1.0]]]}}, "met/test has 1 dimensions and what is before it 3"),
        ({"cars": {"train": [CARS]}}, "holds no descriptors of the test split"),
        ({}, "the object is empty"),
        ([], "should be"),
        ('{"cars": {"test": [[[1, 2, 3], [4, 5', "a vector begins that does not end"),
        ('{"cars": {"test": [[[1, 2, 3], [4, 5, 6]]', "should be"),
        ('{"cars": {"test": [[1, 2, 3], [4, 5, 6]]}} more', "the text goes on"),
        ('{"cars": {"test": [[1, 2, 3], [4, 5, 6]]}, "cars": {}}', "the key 'cars' occurs twice"),
        ("[1, 2", "should be"),
        ({"descriptors": CARS, "paths": ["a"]}, "has 2 descriptors and 1 paths"),
        ({"descriptors": CARS, "names": ["a"]}, "the key 'names' is neither 'descriptors' nor 'paths'"),
        ({"descriptors": CARS, "paths": [1, 2]}, "a text in quotes should begin"),
    ],
)
def test_what_is_no_json_of_descriptors_is_told_where(tmp_path: Path, content: object, says: str) -> None:
    has_ids = isinstance(content, dict) and "descriptors" in content
    ids = None if has_ids else info_files(tmp_path / "info_files")
    refused(says, descriptors(tmp_path, content), ids, uned())


def test_descriptors_without_ids_need_the_info_files(tmp_path: Path) -> None:
    path = descriptors(tmp_path, {"cars": {"test": [CARS]}})
    refused("give UnED's folder of info files, whose order is theirs, with --ids", path)
    (tmp_path / "info").mkdir()
    refused(r"cars.test\.json", path, tmp_path / "info", uned())


def test_descriptors_with_paths_take_no_other_ids(tmp_path: Path) -> None:
    path = descriptors(tmp_path, {"descriptors": CARS, "paths": ["a", "b"]})
    refused("has its ids in it, its 'paths', so leave --ids out", path, info_files(tmp_path / "info_files"))


def test_a_number_that_is_no_number_names_its_image(tmp_path: Path) -> None:
    path = descriptors(tmp_path, {"descriptors": [[float("nan"), 1.0]], "paths": ["test/0.jpg"]})
    of = Manifest(manifest().frame.filter(pl.col("image") == "test/0.jpg"))
    refused("the embedding of test/0.jpg is not finite", path, of=of)
