"""The catalogue: every row reads its published files, agrees with the printed tables, and shares its sources."""

import csv
import os
from pathlib import Path

import polars as pl
import pytest

from probe.data.curation import read_curations
from probe.data.dataset import (
    Count,
    Dataset,
    MissingDataError,
    all_datasets,
    find_dataset,
    read_catalogue,
    read_dataset,
)
from probe.data.images import missing_images
from probe.data.manifest import Manifest
from probe.data.resolve import resolve_data
from probe.errors import UsageError
from tests.conftest import quick
from tests.data.published import PUBLISHED

ROOT = Path(__file__).parents[2]
NAMES = [dataset.name for dataset in all_datasets()]
DATA_ROOT = os.environ.get("PROBE_DATA_ROOT")


def reference(name: str) -> list[dict[str, str]]:
    with (ROOT / "recipes/reference" / name).open() as file:
        return list(csv.DictReader(file))


def rows_of(manifest: Manifest) -> list[tuple[object, ...]]:
    part = pl.when(pl.col("split") == "train").then(pl.lit("train")).otherwise(pl.format("{}/{}", "split", "role"))
    return sorted(manifest.frame.select("image", "source", "label", "domain", part.alias("part")).rows(), key=repr)


@pytest.mark.parametrize("name", NAMES)
def test_a_published_data_set_reads_as_the_right_images_labels_domains_splits_and_roles(name: str, tmp_path: Path):
    PUBLISHED[name].write(tmp_path)
    manifest = read_dataset(name, tmp_path)
    both = [
        (*row[:4], row[4] if "/" in row[4] or row[4] == "train" else f"{row[4]}/both") for row in PUBLISHED[name].rows
    ]
    assert rows_of(manifest) == sorted(both, key=repr)
    assert find_dataset(name).missing(tmp_path) == []


@pytest.mark.parametrize("name", quick(NAMES, 8))
def test_the_images_of_a_source_are_looked_for_below_the_root_that_holds_them(name: str, tmp_path: Path):
    PUBLISHED[name].write(tmp_path)
    manifest = read_dataset(name, tmp_path)
    for source in manifest.sources:
        folder = manifest.roots[source]
        for image in manifest.images(source):
            if not missing_images(folder, [image]):
                continue
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).touch()
    again = read_dataset(name, tmp_path)
    for source in again.sources:
        assert missing_images(again.roots[source], again.images(source)) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_with_the_place_to_get_it(name: str, tmp_path: Path):
    dataset = find_dataset(name)
    assert dataset.root(tmp_path) is None
    absent = dataset.missing(tmp_path)
    assert absent
    with pytest.raises(MissingDataError) as error:
        dataset.read(tmp_path)
    assert absent[0] in str(error.value)
    assert dataset.row.home in str(error.value)


def test_a_split_of_which_nothing_is_there_is_left_out_and_named(tmp_path: Path):
    PUBLISHED["sop"].write(tmp_path)
    (tmp_path / "sop/Ebay_test.txt").unlink()
    sop = find_dataset("sop")
    assert sop.missing(tmp_path) == ["sop/Ebay_test.txt"]
    assert sop.left_out(tmp_path) == ["test"]
    manifest = sop.read(tmp_path)
    assert set(manifest.frame["split"]) == {"train"}
    assert manifest.where == "the data set 'sop' (without test: sop/Ebay_test.txt is not there)"


def test_a_file_that_several_splits_need_does_not_make_a_split(tmp_path: Path):
    PUBLISHED["met"].write(tmp_path)
    for name in ("valset", "testset", "mini_MET_database"):
        (tmp_path / f"met/ground_truth/{name}.json").unlink()
    assert find_dataset("met").left_out(tmp_path) == ["val", "test"]
    assert set(read_dataset("met", tmp_path).frame["split"]) == {"train"}


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("fashion-200k", "fashion200k/labels/skirt_train_detect_all.txt"),
        ("met", "met/ground_truth/valset.json"),
        ("uned-inshop", "info_files/inshop/index.json"),
        ("uned", "info_files/sop/train.json"),
    ],
)
def test_a_split_of_which_a_part_is_there_is_an_error(name: str, absent: str, tmp_path: Path):
    PUBLISHED[name].write(tmp_path)
    (tmp_path / absent).unlink()
    with pytest.raises(MissingDataError, match=absent.replace(".", r"\.")):
        read_dataset(name, tmp_path)


@pytest.mark.parametrize("name", quick(NAMES, 8))
def test_the_rows_are_the_same_whatever_the_order_of_the_lines(name: str, tmp_path: Path):
    published = PUBLISHED[name]
    published.write(tmp_path / "as")
    published.write(tmp_path / "reversed")
    for file, content in published.files.items():
        if (
            isinstance(content, str)
            and content.count("\n") > 1
            and '"""' not in content
            and not file.endswith("articles.csv")
        ):
            above = (
                2
                if content[0].isdigit() and "list_eval" in file
                else 0
                if "labels/" in file or "meta_data" in file
                else 1
            )
            lines = content.splitlines(keepends=True)
            (tmp_path / "reversed" / file).write_text("".join(lines[:above] + lines[above:][::-1]))
    one, other = (read_dataset(name, tmp_path / order) for order in ("as", "reversed"))
    assert rows_of(one) == rows_of(other)


def test_gldv2_extracted_once_serves_its_own_lists_m4d_and_uned(tmp_path: Path):
    PUBLISHED["m4d-35k"].write(tmp_path)
    PUBLISHED["gldv2-full"].write(tmp_path)
    PUBLISHED["uned-gldv2"].write(tmp_path)
    (tmp_path / "gldv2/train_clean.csv").write_text("landmark_id,images\n1,0123456789abcdef\n")
    for name in ("gldv2", "gldv2-full", "m4d-35k", "uned-gldv2"):
        assert "train/0/1/2/0123456789abcdef.jpg" in read_dataset(name, tmp_path).images("gldv2")


def test_kaggles_copy_of_the_cleaned_list_is_read_where_the_list_itself_is_not_there(tmp_path: Path):
    folder = tmp_path / "google_landmark_recognition_2021"
    folder.mkdir()
    (folder / "train.csv").write_text("id,landmark_id\n0123456789abcdef,142820\n")
    assert find_dataset("gldv2").missing(tmp_path) == []
    assert read_dataset("gldv2", tmp_path).frame["label"].to_list() == ["142820"]
    PUBLISHED["gldv2"].write(tmp_path)
    assert "142820" not in read_dataset("gldv2", tmp_path).frame["label"]


def test_the_list_of_the_whole_of_gldv2_is_never_taken_for_the_cleaned_one(tmp_path: Path):
    PUBLISHED["gldv2-full"].write(tmp_path)
    with pytest.raises(MissingDataError, match=r"gldv2/train_clean\.csv cannot be found"):
        read_dataset("gldv2", tmp_path)


def test_the_cars_repositorys_own_list_serves_where_unifexs_is_not_there(tmp_path: Path):
    (tmp_path / "stanford_cars").mkdir()
    content = ",x1,y1,x2,y2,Class,image\n0,39,116,569,375,14,00001.jpg\n"
    (tmp_path / "stanford_cars/cardatasettrain.csv").write_text(content)
    manifest = read_dataset("stanford-cars-unifex", tmp_path)
    assert manifest.frame.row(0)[:3] == ("cars_train/00001.jpg", "stanford-cars", "14")


def test_names_are_nfc(tmp_path: Path):
    PUBLISHED["stanford-cars-unifex"].write(tmp_path)
    (tmp_path / "stanford_cars/sc_train.csv").write_text("image,Label\ncafe\u0301.jpg,1\n")
    assert read_dataset("stanford-cars-unifex", tmp_path).images("stanford-cars") == ["cars_train/caf\u00e9.jpg"]


@pytest.mark.parametrize(
    ("own", "uned"),
    [
        ("sop", "uned-sop"),
        ("cars196", "uned-cars196"),
        ("inaturalist-2018", "uned-inat"),
        ("food2k", "uned-food2k"),
        ("rp2k", "uned-rp2k"),
        ("met", "uned-met"),
        ("inshop", "uned-inshop"),
    ],
)
def test_a_data_set_and_its_part_of_uned_share_a_source_and_their_ids(own: str, uned: str, tmp_path: Path):
    PUBLISHED[own].write(tmp_path / own)
    PUBLISHED[uned].write(tmp_path / uned)
    one, other = read_dataset(own, tmp_path / own), read_dataset(uned, tmp_path / uned)
    assert one.sources == other.sources
    assert {image.split("/")[0] for image in one.images(one.sources[0])} & {
        image.split("/")[0] for image in other.images(other.sources[0])
    }


def test_the_nearest_name_is_suggested():
    with pytest.raises(UsageError, match="did you mean 'food-101'"):
        find_dataset("food101")


def test_every_catalogue_row_has_its_published_form_in_the_tests():
    assert set(PUBLISHED) == set(NAMES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources: {}\ndatasets: {x: {%s, notes: n}}", "datasets.x: unknown key 'notes'; did you mean 'note'"),
        ("sources: {}\ndatasets: {x: {%s}}", "either `tables` or `parts`"),
        ("sources: {}\ndatasets: {x: {%s, parts: [y]}}", "no data set 'y'"),
        ("sources: {b: {folders: [a], holds: [b], held: c}}\ndatasets: {}", "unknown key 'held'; did you mean 'holds'"),
        ("sources: {}\ndatasets: {x: {%s, source: b, domain: d, tables: [{%s, part: test}]}}", "no source 'b'"),
        ("sources: {}\ndatasets: {x: {%s, tables: [{%s, part: test}]}}", "needs `places`, or the data set a `source`"),
        ("sources: {}\ndatasets: {x: {%s, tables: [{%s, part: tests}]}}", "'tests' is neither train nor val or test"),
        ("sources: {}\ndatasets: {x: {%s, tables: [{%s}]}}", "either `part` or `parts`"),
        ("sources: {}\ndatasets: {x: {%s, tables: [{%s, part: test, lable: x}]}}", "'lable'; did you mean 'label'"),
        ("sources: {}\ndatasets: {x: {%s, tables: [{%s, part: test, match: {path: '('}}]}}", "no regular expression"),
        (
            "sources: {}\ndatasets: {x: {%s, tables: [{kind: delimited, file: a, image: 'images/{file', label: b, "
            "part: test}]}}",
            r"datasets.x.tables.0.delimited.image: 'images/{file' has a brace that belongs to no field; write {column}",
        ),
        ("sources: {", "is not YAML"),
    ],
)
def test_a_catalogue_that_is_wrong_is_refused_in_a_sentence(text: str, says: str):
    row = "title: X, year: 1, home: h, licence: l"
    table = "kind: tree, file: a, image: '{path}', label: '{path}'"
    with pytest.raises(UsageError) as error:
        read_catalogue(text.replace("%s", row, 1).replace("%s", table), "my.yaml")
    assert str(error.value).startswith("my.yaml")
    assert says in str(error.value)


# ---- what is printed ------------------------------------------------------------------------------------------------


def counts(name: str) -> dict[tuple[str, str], tuple[int, int | None]]:
    return {(count.split, count.role): (count.images, count.classes) for count in find_dataset(name).counts}


UNED = {
    "Food2k": "uned-food2k",
    "CARS196": "uned-cars196",
    "SOP": "uned-sop",
    "InShop": "uned-inshop",
    "iNaturalist (2018)": "uned-inat",
    "Met": "uned-met",
    "GLDv2": "uned-gldv2",
    "Rp2k": "uned-rp2k",
    "": "uned",
    "Total": "uned",
}


def test_counts_are_those_of_uned_table_2():
    for row in reference("uned_table2.csv"):
        printed = int(row["train_images"]), int(row["train_classes"])
        assert counts(UNED[row["dataset"]])["train", "train"] == printed, row


def test_counts_are_those_of_uned_table_3():
    for row in reference("uned_table3.csv"):
        found = counts(UNED[row["dataset"]])
        for role in ("query", "index"):
            assert found[row["split"], role] == (int(row[f"{role}_images"]), int(row[f"{role}_classes"])), row


def test_queries_are_the_index_in_uned_where_table_3_says_so(tmp_path: Path):
    for row in reference("uned_table3.csv"):
        if row["dataset"] == "Total":
            continue
        name = UNED[row["dataset"]]
        PUBLISHED[name].write(tmp_path / name)
        roles = set(read_dataset(name, tmp_path / name).split(row["split"])["role"])
        assert roles == ({"both"} if row["query_is_index"] == "yes" else {"query", "index"}), row


def test_counts_are_those_of_unifex_table_2():
    domains = {
        "Products": "products",
        "Landmarks": "landmarks",
        "Fashion": "fashion",
        "Cars": "cars",
        "Multi-Domain": None,
    }
    found = {count.domain: count for count in find_dataset("m4d-35k").counts}
    for row in reference("unifex_table2.csv"):
        count = found[domains[row["domain"]]]
        assert f"{count.classes / 1000 if count.classes else 0:.1f}k" == row["n_classes"]
        assert f"{count.images / 1000:.1f}k" == row["n_images"]


def test_counts_are_those_of_uned_table_1():
    assert counts("gpr1200")["test", "query"] == (12000, 1200)
    printed = {row["dataset"]: row for row in reference("uned_table1.csv")}
    assert (printed["GPR1200"]["n_images"], printed["GPR1200"]["n_classes"]) == ("12k", "1.2k")
    assert (printed["INSTRE"]["n_images"], printed["INSTRE"]["n_classes"]) == ("28k", "250")
    assert counts("instre")["test", "query"] == (28000, 250)


def test_every_data_set_of_unifex_figure_2_has_a_row():
    titles = [dataset.row.title for dataset in all_datasets() if "UniFEx Figure 2" in dataset.row.papers]
    known = {
        "GLDv2 (cleaned)": "Landmark",
        "MET Artwork": "Met",
        "Food101": "Food-101",
        "Food Recognition 2022": "2022",
    }
    for row in reference("unifex_fig2_table.csv"):
        name = known.get(row["dataset"], row["dataset"])
        assert any(name.lower() in title.lower() for title in titles), row


def test_a_printed_count_that_is_rounded_agrees_with_what_it_rounds():
    count = Count(split="train", role="train", images=328400, classes=34800, rounded=100, printed="there")
    assert count.agrees(328_449, 34_751)
    assert not count.agrees(328_501, 34_800)
    exact = Count(split="train", role="train", images=7, printed="there")
    assert exact.agrees(7, 3)
    assert not exact.agrees(8, 3)


def test_an_image_that_is_query_and_index_counts_in_both_roles(tmp_path: Path):
    PUBLISHED["uned"].write(tmp_path)
    manifest = read_dataset("uned", tmp_path)
    both = Count(split="test", role="query", images=0, domain="sop", printed="")
    assert both.measure(manifest) == (1, 1)
    assert Count(split="test", role="query", images=0, domain="gldv2", printed="").measure(manifest) == (2, 2)
    assert Count(split="test", role="index", images=0, printed="").measure(manifest)[0] == 1 * 5 + 1 + 2 + 2


def _found() -> list[Dataset]:
    return [each for each in all_datasets() if DATA_ROOT and not each.missing(Path(DATA_ROOT))]


@pytest.mark.slow
@pytest.mark.skipif(not _found(), reason="no published annotation files below $PROBE_DATA_ROOT")
@pytest.mark.parametrize("name", [dataset.name for dataset in _found()] or ["none"])
def test_published_counts_hold_for_the_files_at_hand(name: str):
    dataset = find_dataset(name)
    manifest = dataset.read(Path(str(DATA_ROOT)))
    for count in dataset.counts:
        assert count.agrees(*count.measure(manifest)), (count, count.measure(manifest))


# ---- as DATA on the command line -------------------------------------------------------------------------------------


def test_a_known_name_resolves_through_its_reader_and_not_as_a_folder_of_images(tmp_path: Path):
    PUBLISHED["food-101"].write(tmp_path)
    assert resolve_data("food-101", tmp_path).domains == ["food"]


def test_a_manifest_in_a_folder_of_that_name_wins(tmp_path: Path):
    folder = tmp_path / "sop"
    folder.mkdir()
    (folder / "manifest.csv").write_text("image,source,label,domain,split,role\na.jpg,mine,x,mine,test,both\n")
    assert resolve_data("sop", tmp_path).sources == ["mine"]


def test_a_known_name_that_is_not_there_says_what_is_missing(tmp_path: Path):
    with pytest.raises(MissingDataError, match=r"Ebay_train\.txt"):
        resolve_data("sop", tmp_path)


# ---- where the images are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image", "root"),
    [
        ("stanford-cars-refined", "stanford_cars/cars_train/00001.jpg", "stanford_cars"),
        ("stanford-cars-refined", "stanford_cars/cars_train/cars_train/00001.jpg", "stanford_cars/cars_train"),
        ("met", "met/MET/7/0.jpg", "met"),
        ("met", "met/images/MET/7/0.jpg", "met/images"),
        ("met", "met_dataset/MET/7/0.jpg", "met_dataset"),
        ("met", "met_dataset/MET/MET/7/0.jpg", "met_dataset/MET"),
        ("uned-gldv2", "images/gldv2/images/train/0/1/2/0123456789abcdef.jpg", "images/gldv2/images"),
        ("uned-gldv2", "gldv2/train/0/1/2/0123456789abcdef.jpg", "gldv2"),
        ("sop", "Stanford_Online_Products/chair_final/1_0.JPG", "Stanford_Online_Products"),
        ("ilias", "ilias/ilias_core/bold_bimp_000/pos/P000_08.jpg", "ilias/ilias_core"),
    ],
)
def test_a_source_lies_where_its_images_do(name: str, image: str, root: str, tmp_path: Path):
    (tmp_path / image).parent.mkdir(parents=True)
    (tmp_path / image).touch()
    dataset = find_dataset(name)
    assert list(dataset.image_roots(tmp_path).values()) == [tmp_path / root]


def test_every_data_set_is_in_the_documentation():
    page = (ROOT / "docs/datasets.md").read_text()
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []


def test_no_two_sources_are_looked_for_in_the_same_place():
    places = [
        (folder, entry)
        for name in dict.fromkeys(source for dataset in all_datasets() for source in dataset.sources)
        for folder in find_dataset("sop").catalogue.sources[name].folders
        for entry in find_dataset("sop").catalogue.sources[name].holds
    ]
    assert len(places) == len(set(places))


def test_every_data_set_that_a_curation_recipe_draws_from_is_known():
    recipes = sorted((ROOT / "recipes/curation").glob("*.yaml"))
    assert recipes
    rows = [row for recipe in recipes for row in read_curations(recipe)]
    drawn = {source.data for row in rows for source in row.sources} | {row.released for row in rows if row.released}
    assert drawn - set(NAMES) == set()
