"""`probe data curate` as a user types it: the published list with all its sources there, one source in an odd folder,
and names that are taken."""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from feature_cache import FeatureStore
from probe.data.dataset import read_dataset
from probe.data.resolve import resolve_data
from tests.conftest import slow
from tests.integration.commands import Shell, photos

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
CLASSES = 10_020  # of GLDv2, all but ten of them of three images and more

Image = tuple[str, str]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "data").mkdir()
    return Shell(tmp_path, ONE_THREAD)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def landmark(label: int) -> list[str]:
    return [f"{label:012x}{i:04x}" for i in range(2 if label < 10 else 3 + label % 10)]


def m4d(data: Path) -> None:
    """All sources of M4D-35k, and a list that has every other class of theirs, in UniFEx's folders."""
    write(data / "products-10k" / "train.csv", "name,class,group", *(f"{i}.jpg,{i // 4},0" for i in range(40)))
    write(data / "products-10k" / "test_kaggletest.csv", "name,class,Usage", "0.jpg,1,Public")
    images = [f"{label},{' '.join(landmark(label))}" for label in range(CLASSES)]
    write(data / "gldv2" / "train_clean.csv", "landmark_id,images", *images)
    items = {f"id_{i}": [f"train/TOPS/id_{i}/{j}.jpg" for j in range(3)] for i in range(6)}
    write(data / "deepfashion" / "deepfashion_train.json", json.dumps({"TOPS": items}))
    cars = [f"1,2,3,4,{i // 5}_3,{i:05}.jpg,0.9" for i in range(20)]
    write(data / "stanford_cars" / "refined_train.csv", "x1,y1,x2,y2,Class,image,Probability", *cars)
    kept = [(f"products-10k/train/{i}.jpg", f"p{i // 4}") for i in range(40) if i // 4 % 2]
    for label in range(11, CLASSES, 2):
        ids = landmark(label)[-10:]
        kept += [(f"google_landmark_recognition_2021/train/{i[0]}/{i[1]}/{i[2]}/{i}.jpg", f"g{label}") for i in ids]
    kept += [(f"deepfashion/{path}", f"d{i}") for i in range(0, 6, 2) for path in items[f"id_{i}"]]
    kept += [(f"stanford_cars/cars_train/cars_train/{i:05}.jpg", f"c{i // 5}") for i in range(20) if i // 5 % 2]
    write(data / "m4d-35k_train.csv", "img_path,label", *(f"{image},{label}" for image, label in kept))


def images(frame: pl.DataFrame) -> set[Image]:
    return set(frame.select("source", "image").iter_rows())


def classes_apart(frame: pl.DataFrame, other: set[Image]) -> int:
    shared: dict[tuple[str, str], bool] = {}
    for source, image, domain, label in frame.select("source", "image", "domain", "label").iter_rows():
        shared[domain, label] = shared.get((domain, label), False) or (source, image) in other
    return list(shared.values()).count(False)


def numbers(text: str) -> list[int]:
    (line,) = (line for line in text.splitlines() if line.startswith("The published list and the drawn one"))
    return [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", line)]


@pytest.mark.slow
def test_the_published_m4d_35k_wins_and_its_difference_from_the_drawn_one_is_that_of_plain_sets(shell: Shell) -> None:
    data = shell.home / "data"
    m4d(data)
    recipe = (shell.home / "recipes" / "curation" / "m4d-35k.yaml").read_text()
    (shell.home / "drawn.yaml").write_text(recipe.replace("released: m4d-35k\n", ""))
    shell("probe data curate drawn.yaml")
    done = shell("probe data curate recipes/curation/m4d-35k.yaml")
    published, drawn = read_dataset("m4d-35k", data), resolve_data("drawn", data)
    there, here = images(published.frame), images(drawn.frame)
    assert numbers(done.stdout) == [
        len(there & here),
        len(there - here),
        classes_apart(published.frame, here),
        len(here - there),
        classes_apart(drawn.frame, there),
    ]
    assert 0 < len(there - here) < len(there)
    written = resolve_data("m4d-35k", data)
    assert written.digest == published.digest
    assert written.roots == published.roots
    report = json.loads((data / "m4d-35k" / "curation.json").read_text())["report"]
    assert report["published"]
    assert report["difference"]["first_only_drawn"] == ["/".join(each) for each in sorted(here - there)[:5]]
    assert [each["data"] for each in report["sources"]] == [
        "products-10k",
        "gldv2",
        "deepfashion-c2s",
        "stanford-cars-refined",
    ]
    assert [step["classes"] for step in report["sources"][1]["steps"]] == [CLASSES, CLASSES - 10, CLASSES - 10, 10_000]

    (data / "gldv2" / "train_clean.csv").unlink()
    again = shell("probe data curate recipes/curation/m4d-35k.yaml --overwrite")
    assert "Not compared with what the recipe draws: the data set 'gldv2' is not complete" in again.stdout
    assert resolve_data("m4d-35k", data).digest == published.digest


@pytest.mark.slow
def test_a_published_list_is_written_even_where_a_source_cannot_be_drawn_from(shell: Shell) -> None:
    data = shell.home / "data"
    m4d(data)
    write(data / "gldv2" / "train_clean.csv", "landmark_id,images", "1,0123456789abcdef")
    done = shell("probe data curate recipes/curation/m4d-35k.yaml")
    assert "Not compared with what the recipe draws" in done.stdout
    assert resolve_data("m4d-35k", data).digest == read_dataset("m4d-35k", data).digest


@pytest.mark.slow
def test_a_training_set_of_one_source_is_extracted_from_wherever_it_was_written(shell: Shell) -> None:
    place = "odd [place] é"
    photos(shell.home / place / "pictures", classes=5)  # two classes of the five are a test split
    (shell.home / "one.yaml").write_text(f"title: One\nseed: 1\nsources: [{{data: '{place}/pictures', cap: 2}}]\n")
    shell(f"probe data curate one.yaml --output '{place}/written'")
    done = shell(f"probe extract '{place}/written' --backbone descriptor --workers 0")
    assert re.search(r"pictures: 6 images in .*descriptor\.h5", done.stdout + done.stderr)


OWN = {
    "a folder of images": lambda home: photos(home / "data" / "mine", classes=5),
    "a manifest": lambda home: write(
        photos(home / "data" / "mine", classes=5) / "manifest.csv",
        "image,source,label,domain,split,role",
        *(
            f"class{c}/{i}.png,mine,{c},things,{'train,train' if i else 'test,both'}"
            for c in range(5)
            for i in range(4)
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OWN)
def test_a_recipe_called_as_the_users_own_data_does_not_take_their_place(shell: Shell, kind: str) -> None:
    OWN[kind](shell.home)
    data = shell.home / "data"
    before = resolve_data("mine", data).digest
    (shell.home / "mine.yaml").write_text("title: Mine\nseed: 1\nsources: [{data: mine, cap: 2}]\n")
    process = shell.start("probe data curate mine.yaml")
    process.communicate()
    assert process.returncode == 2
    assert resolve_data("mine", data).digest == before


@pytest.mark.slow
def test_a_recipe_called_as_a_known_data_set_does_not_take_its_place(shell: Shell) -> None:
    data, header = shell.home / "data", "image_id class_id super_class_id path"
    write(data / "sop" / "Ebay_train.txt", header, "1 1 1 a/1.JPG", "2 1 1 a/2.JPG", "3 2 1 a/3.JPG")
    write(data / "sop" / "Ebay_test.txt", header, "9 9 1 a/9.JPG")
    (shell.home / "sop.yaml").write_text("title: SOP\nseed: 1\nsources: [{data: sop, min: 2}]\n")
    before = resolve_data("sop", data).digest
    shell.start("probe data curate sop.yaml").communicate()
    assert resolve_data("sop", data).digest == before


@pytest.mark.parametrize("output", ["sop", slow("sample")])
def test_a_known_name_is_not_written_to_even_where_nothing_lies_there(shell: Shell, output: str) -> None:
    photos(shell.home / "pictures", classes=5)
    write(shell.home / "one.yaml", "title: One", "seed: 1", "sources: [{data: pictures}]")
    assert f"data set '{output}'" in shell(f"probe data curate one.yaml --output data/{output} --overwrite", 2).stderr
    assert not (shell.home / "data" / output).exists()


@pytest.mark.slow
def test_only_an_earlier_draw_is_replaced_and_not_by_a_draw_from_itself(shell: Shell) -> None:
    photos(shell.home / "pictures", classes=5)
    write(shell.home / "one.yaml", "title: One", "seed: 1", "sources: [{data: pictures, cap: 2}]")
    write(shell.home / "again.yaml", "title: Again", "seed: 1", "sources: [{data: drawn, cap: 1}]")
    shell("probe data curate one.yaml --output data/drawn")
    write(shell.home / "one.yaml", "title: One", "seed: 1", "sources: [{data: pictures, cap: 1}]")
    assert "(--overwrite)" in shell("probe data curate one.yaml --output data/drawn", 2).stderr
    shell("probe data curate one.yaml --output data/drawn --overwrite")
    digest = resolve_data("drawn", shell.home / "data").digest
    refused = shell("probe data curate again.yaml --output data/drawn --overwrite", 2)
    assert "would draw from what it replaces" in refused.stderr
    assert resolve_data("drawn", shell.home / "data").digest == digest
    assert "which no recipe drew" in shell("probe data curate one.yaml --output pictures --overwrite", 2).stderr


def test_a_list_of_the_users_own_below_the_released_name_stays(shell: Shell) -> None:
    photos(shell.home / "pictures", classes=5)
    recipe = "title: M4D\nseed: 1\nreleased: m4d-35k\nsources: [{data: pictures, cap: 2}]\n"
    (shell.home / "m4d-35k.yaml").write_text(recipe)
    write(shell.home / "data" / "m4d-35k" / "notes.txt", "a note")
    shell("probe data curate m4d-35k.yaml")
    (shell.home / "data" / "m4d-35k" / "curation.json").unlink()
    assert "which no recipe drew" in shell("probe data curate m4d-35k.yaml --overwrite", 2).stderr


@pytest.mark.slow
def test_an_overwrite_that_was_cut_short_is_mended_by_curating_again(shell: Shell) -> None:
    photos(shell.home / "pictures", classes=5)
    for cap in (1, 2):
        recipe = f"title: M4D\nseed: 1\nreleased: m4d-35k\nsources: [{{data: pictures, cap: {cap}}}]\n"
        (shell.home / "m4d-35k.yaml").write_text(recipe)
        shell(f"probe data curate m4d-35k.yaml {'--overwrite' if cap == 2 else ''}")
        if cap == 1:
            before = (shell.home / "data" / "m4d-35k" / "manifest.parquet").read_bytes()
    (shell.home / "data" / "m4d-35k" / "manifest.parquet").write_bytes(before)
    assert "curate again" in shell("probe data stats m4d-35k", 2).stderr
    shell("probe data curate m4d-35k.yaml --overwrite")
    assert resolve_data("m4d-35k", shell.home / "data").split("train").height == 6


def test_an_output_that_is_a_file_is_misuse_and_is_told_before_any_work(shell: Shell) -> None:
    photos(shell.home / "pictures", classes=5)
    (shell.home / "one.yaml").write_text("title: One\nseed: 1\nsources: [{data: pictures}]\n")
    (shell.home / "taken").write_text("a file")
    for output in ("taken", "taken/below"):
        done = shell(f"probe data curate one.yaml --output {output}", 2)
        assert "taken" in done.stderr
        assert "Errno" not in done.stderr
        assert not done.stdout


NEAR = """
title: Near
seed: 1
rows:
  - name: thin
    sources:
      - {data: pictures, near_duplicates: {backbone: descriptor, cosine: 0.99, benchmark: bench}, min: 2}
"""
EVEN = """
title: Even
seed: 1
sources: [{data: pictures}]
shares: {bench: 1, pictures: 3}
"""


def pictures(home: Path) -> None:
    """Training classes 0 to 3 of four images; a copy in class 0, another one in class 1 of an image of class 2, and in
    class 3 two copies of queries of a benchmark."""
    folder = photos(home / "data" / "pictures", classes=4)
    queries = photos(home / "data" / "bench", classes=5) / "class4"  # the first four classes are those of `pictures`
    shutil.rmtree(home / "data" / "bench" / "class0")
    for place, image in (
        ("class0/3.png", folder / "class0" / "1.png"),
        ("class1/3.png", folder / "class2" / "0.png"),
        ("class3/0.png", queries / "0.png"),
        ("class3/2.png", queries / "1.png"),
    ):
        shutil.copy(image, folder / place)
    rows = [f"class{c}/{i}.png,pictures,{c},pictures,train,train" for c in range(4) for i in range(4)]
    write(folder / "manifest.csv", "image,source,label,domain,split,role", *rows)
    asked = [f"class4/{i}.png,bench,4,pictures,test,both" for i in range(4)]
    write(home / "data" / "bench" / "manifest.csv", "image,source,label,domain,split,role", *asked)


@pytest.mark.slow
def test_near_duplicates_by_stored_features_are_left_out_counted_and_listed(shell: Shell) -> None:
    pictures(shell.home)
    (shell.home / "near.yaml").write_text(NEAR)
    refused = shell("probe data curate near.yaml", 2).stderr
    assert "there are no features of 'descriptor' for pictures" in refused
    extract = "probe extract pictures bench --backbone descriptor"
    assert f"First run: {extract} --data-root" in refused
    assert not (shell.home / "data" / "thin").exists()
    shell(f"{extract} --workers 0")
    done = shell("probe data curate near.yaml")
    assert re.search(r"split train +16 +4\s+near-duplicates 0.99 +13 +4\s+min 2 +13 +4\s", done.stdout)
    assert "above 0.99): 1 of another image of the class, 2 of a query of bench; near-duplicates.csv" in done.stdout
    listed = pl.read_csv(shell.home / "data" / "thin" / "near-duplicates.csv")
    assert listed.select("image", "near_source", "near_image", "of_query").rows() == [
        ("class0/3.png", "pictures", "class0/1.png", False),
        ("class3/0.png", "bench", "class4/0.png", True),
        ("class3/2.png", "bench", "class4/1.png", True),
    ]
    left = resolve_data("thin", shell.home / "data")
    assert len(left.frame) == 13
    assert images(left.frame).isdisjoint(listed.select("source", "image").rows())
    store = shell.home / "features" / "pictures" / "descriptor.h5"
    report = json.loads((shell.home / "data" / "thin" / "curation.json").read_text())["report"]
    assert FeatureStore(store).fingerprint in report["sources"][0]["near_duplicates"]["features"]


def test_shares_are_shown_beside_what_was_drawn(shell: Shell) -> None:
    pictures(shell.home)
    folder = shell.home / "data" / "pictures"
    text = (folder / "manifest.csv").read_text().replace("0,pictures,train", "0,bench,train")
    (folder / "manifest.csv").write_text(text)
    (shell.home / "even.yaml").write_text(EVEN)
    done = shell("probe data curate even.yaml")
    assert re.search(r"bench +25.00% +25.00% +4 +1\s+pictures +75.00% +75.00% +12 +3\s", done.stdout)
    (shell.home / "even.yaml").write_text(EVEN.replace("bench: 1, pictures", "cars: 1, toys"))
    refused = shell("probe data curate even.yaml --overwrite", 2).stderr
    assert "has no image of 'cars', 'toys', of which a share is asked for (its domains: bench, pictures)" in refused
    (shell.home / "even.yaml").write_text(EVEN.replace("{bench: 1, pictures: 3}", "gone"))
    assert "gone (not a known data set)" in shell("probe data curate even.yaml --overwrite", 2).stderr
