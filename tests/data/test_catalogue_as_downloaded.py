"""Data as people have it on disk: the papers' own layouts, a part of the files, a shell in the data root."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from probe.data.dataset import MissingDataError, all_datasets, find_dataset, read_dataset
from probe.data.images import missing_images
from probe.data.readers.base import reader_of
from probe.data.resolve import is_here, known_data, resolve_data
from probe.data.statistics import measured_tables
from probe.errors import UsageError
from tests.data.published import PUBLISHED, matlab, structs

NAMES = [dataset.name for dataset in all_datasets()]


def put(path: Path, content: str | bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def sop(root: Path) -> None:
    PUBLISHED["sop"].write(root)
    for image, *_ in PUBLISHED["sop"].rows:
        put(root / "sop" / image)


# ---- where a name leads ----


def test_a_known_name_means_the_data_set_in_whatever_folder_the_shell_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sop(tmp_path / "root")
    put(tmp_path / "elsewhere/sop/shoe/1.jpg")
    wanted = resolve_data("sop", tmp_path / "root").digest
    for folder, root in (("root", Path()), ("root", tmp_path / "root"), ("elsewhere", tmp_path / "root")):
        monkeypatch.chdir(tmp_path / folder)
        assert resolve_data("sop", root).digest == wanted


def test_a_folder_of_a_known_name_is_meant_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "sop/shoe/1.jpg")
    monkeypatch.chdir(tmp_path)
    for said in ("./sop", str(tmp_path / "sop")):
        assert resolve_data(said, tmp_path / "root").images("sop") == ["shoe/1.jpg"]


def test_check_compares_a_known_name_with_what_is_published_from_within_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from probe.cli import app

    sop(tmp_path)
    monkeypatch.chdir(tmp_path)
    line = ["data", "check", "sop", "--data-root", ".", "--sample", "0", "--workers", "0", "--out", "out"]
    assert "DIFFERS from 59,551 images" in CliRunner().invoke(app, line).output


# ---- a part of the files ----


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_read_counts_as_being_here(name: str, tmp_path: Path):
    for number, absent in enumerate(PUBLISHED[name].files):
        root = tmp_path / str(number)
        PUBLISHED[name].write(root)
        (root / absent).unlink()
        try:
            known_data(name, root)
        except MissingDataError:
            assert not is_here(name, root), absent
        except UsageError:
            continue  # an empty folder is left
        else:
            assert is_here(name, root), absent


def test_the_sources_of_m4d_are_here_as_unifex_lays_them_out(tmp_path: Path):
    put(tmp_path / "products-10k/train.csv", "name,class,group\n0.jpg,0,0\n")
    put(tmp_path / "google_landmark_recognition_2021/train.csv", "id,landmark_id\nabcd,1\n")
    put(tmp_path / "deepfashion/deepfashion_train.json", '{"A": {"1": ["train/A/1/a.jpg"]}}')
    put(tmp_path / "stanford_cars/refined_train.csv", "x1,y1,x2,y2,Class,image,Probability\n1,1,2,2,14_8,1.jpg,0.9\n")
    for name in ("products-10k", "gldv2", "deepfashion-c2s", "stanford-cars-refined"):
        assert is_here(name, tmp_path), name


def test_counting_a_data_set_without_one_of_its_splits_says_so(tmp_path: Path):
    from probe.cli import app

    PUBLISHED["uned-sop"].write(tmp_path)
    (tmp_path / "info_files/sop/test.json").unlink()
    told = CliRunner().invoke(app, ["data", "stats", "uned-sop", "--data-root", str(tmp_path)]).output
    assert "without test" in told


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("m4d-35k_train.csv", "img_path, img_path,label\na,b,1\n"),
        ("info_files/sop/train.json", json.dumps([{"path": "sop/a/1.JPG", "class_id": 10**25}])),
        ("info_files/sop/train.json", '[{"path": "sop/a/1.JPG", "class_id": "\\ud800"}]'),
    ],
    ids=["a column twice", "a huge number", "half a character"],
)
def test_no_fault_of_one_file_stops_the_tables(tmp_path: Path, file: str, content: str):
    PUBLISHED["uned-cars196"].write(tmp_path)
    PUBLISHED["uned-sop"].write(tmp_path)
    put(tmp_path / file, content)
    tables = measured_tables(lambda name: known_data(name, tmp_path))
    found = {(row.printed.name, row.printed.split) for table in tables for row in table.rows if row.state == "found"}
    assert ("CARS196", "train") in found


# ---- UnED beside the data sets' own rows ----

INATURALIST = {
    "images": [{"id": 1, "file_name": "train_val2018/Aves/2761/a.jpg"}],
    "annotations": [{"image_id": 1, "category_id": 2}],
    "categories": [{"id": 2, "name": "x"}],
}
IN_SHOP = "1\nimage_name item_id evaluation_status\nimg/MEN/Denim/id_1/01_1_front.jpg id_1 train\n"

# a data set's own list (file, content), and the same image in UnED: folder of the info files, path
SAME: dict[str, tuple[str, str | bytes, str, str]] = {
    "sop": ("Ebay_train.txt", "class_id path\n1 bicycle_final/1.JPG\n", "sop", "sop/bicycle_final/1.JPG"),
    "inshop": ("list_eval_partition.txt", IN_SHOP, "inshop", "deepfashion/inshop/img/MEN/Denim/id_1/01_1_front.jpg"),
    "inaturalist-2018": (
        "train2018.json",
        json.dumps(INATURALIST),
        "inat",
        "inat/iNaturalist/train_val2018/Aves/2761/a.jpg",
    ),
    "met": ("MET_database.json", '[{"id": 7, "path": "MET/7/0.jpg"}]', "met", "met/MET/7/0.jpg"),
    "gldv2": ("train_clean.csv", "landmark_id,images\n1,abcd\n", "gldv2", "gldv2/images/train/a/b/c/abcd.jpg"),
    "food2k": ("train_finetune.txt", "0/1.jpg 0\n", "food2k", "food2k/Food2k_complete/0/1.jpg"),
    "cars196": (
        "cars_annos.mat",
        matlab(annotations=structs({"relative_im_path": "car_ims/000001.jpg", "class": 1})),
        "cars",
        "cars/car_ims/000001.jpg",
    ),
    "rp2k": ("train/农夫/1.jpg", b"", "rp2k", "rp2k/all/train/农夫/1.jpg"),
}
PARTS = {"inaturalist-2018": "uned-inat", "cars196": "uned-cars196"}


@pytest.mark.parametrize("own", SAME)
def test_an_image_has_one_id_in_its_data_set_and_in_uned(own: str, tmp_path: Path):
    file, content, _, path = SAME[own]
    put(tmp_path / "own" / file, content)
    put(tmp_path / "train.json", json.dumps([{"path": path, "class_id": 1}]))
    row, part = find_dataset(own).row, find_dataset(PARTS.get(own, f"uned-{own}")).row
    listed = tmp_path / "own/train" if own == "rp2k" else tmp_path / "own" / file
    theirs = reader_of(part.tables[0]).rows(tmp_path / "train.json")
    assert reader_of(row.tables[0]).rows(listed)["image"].to_list() == theirs["image"].to_list()
    assert theirs["source"].to_list() == [row.source]


@pytest.mark.parametrize("root", ["", "uned", "data", "uned/data"])
@pytest.mark.parametrize("own", SAME)
def test_images_lie_beside_the_info_files_as_in_uneds_repository(own: str, root: str, tmp_path: Path):
    _, _, folder, path = SAME[own]
    name = PARTS.get(own, f"uned-{own}")
    for table in find_dataset(name).row.tables:
        split = table.file[0].partition("/")[2]
        image = str(Path(path).with_stem(f"{Path(path).stem}{Path(split).stem}"))
        put(tmp_path / root / "images" / image)
        put(tmp_path / root / "info_files" / folder / split, json.dumps([{"path": image, "class_id": 1}]))
    manifest = read_dataset(name, tmp_path)
    (source,) = manifest.sources
    assert missing_images(manifest.roots[source], manifest.images(source)) == []


def test_the_same_label_in_all_eight_domains_is_eight_classes(tmp_path: Path):
    for own, (_, _, folder, path) in SAME.items():
        for table in find_dataset(PARTS.get(own, f"uned-{own}")).row.tables:
            split = table.file[0].partition("/")[2]
            put(tmp_path / "info_files" / folder / split, json.dumps([{"path": f"{path}.{split}.jpg", "class_id": 1}]))
    manifest = read_dataset("uned", tmp_path)
    assert manifest.frame.select("domain", "label").n_unique() == 8
    assert set(manifest.frame["label"]) == {"1"}


def test_a_landmark_query_of_several_classes_is_one_image_of_them_all(tmp_path: Path):
    PUBLISHED["uned-gldv2"].write(tmp_path)
    where = tmp_path / "info_files/gldv2"
    query = {"path": "gldv2/images/test/a/b/c/abcq.jpg", "class_id": [5, 6]}
    put(where / "test.json", json.dumps([query]))
    index = [{"path": f"gldv2/images/index/a/b/c/abc{label}.jpg", "class_id": label} for label in (5, "6", 7)]
    put(where / "index.json", json.dumps(index))
    dataset = find_dataset("uned-gldv2")
    manifest = dataset.read(tmp_path)
    measured = {(each.split, each.role): each.measure(manifest) for each in dataset.counts}
    assert (measured["test", "query"], measured["test", "index"]) == ((1, 2), (3, 3))
