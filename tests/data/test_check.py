"""What `probe data check` finds in a folder of real images: exactly the faults that were put there."""

import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from rich.console import Console

from probe.data.check import Check, check_data, print_check, summary_line, write_findings
from probe.data.dataset import Count
from probe.data.manifest import COLUMNS, Manifest
from probe.data.resolve import resolve_data

ROWS = [
    *((f"train/{label}{i}.jpg", "shop", label, "shoes", "train", "train") for label in "ab" for i in range(3)),
    *((f"test/{label}{i}.jpg", "shop", label, "shoes", "test", "both") for label in "cd" for i in range(2)),
]
PRINTED = (
    Count(split="train", role="train", images=6, classes=2, printed="Table 1"),
    Count(split="test", role="query", images=4, classes=2, printed="Table 2"),
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An image for each row, no two of them alike."""
    rng = np.random.default_rng(0)
    for image, *_ in ROWS:
        path = tmp_path / "shop" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).save(path)
    return tmp_path / "shop"


def manifest(root: Path, rows: list[tuple[str, ...]] = ROWS) -> Manifest:
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"), {"shop": root}, "shop.csv")


def checked(root: Path, rows: list[tuple[str, ...]] = ROWS, sample: int | None = None, workers: int = 0) -> Check:
    return check_data("shop", manifest(root, rows), PRINTED, sample, workers, root.parent)


def found(check: Check) -> dict[str, list[str]]:
    """The images of each finding."""
    return {finding.what: finding.rows["image"].to_list() for finding in check.findings}


def said(check: Check) -> str:
    text = io.StringIO()
    print_check(check, Console(file=text, width=500))
    return text.getvalue()


def test_whole_data_is_sound(shop: Path):
    check = checked(shop)
    assert check.is_sound
    assert (check.images, check.decoded, check.copies) == (10, 10, 0)
    assert summary_line(check) == "shop is sound"
    assert "train: 6 images of 2 classes, agrees with 6 images of 2 classes (Table 1)" in said(check)


def test_every_fault_is_found_by_the_image_that_has_it(shop: Path):
    (shop / "train/a0.jpg").unlink()
    truncated = shop / "train/b0.jpg"
    truncated.write_bytes(truncated.read_bytes()[:200])
    shutil.copy(shop / "train/a1.jpg", shop / "test/c0.jpg")
    check = checked(shop)
    assert found(check) == {
        "missing image files": ["train/a0.jpg"],
        "images that cannot be decoded": ["train/b0.jpg"],
        "byte-identical images of several classes, or of training and queries": ["test/c0.jpg", "train/a1.jpg"],
    }
    assert check.decoded == 9
    assert not check.is_sound
    assert "missing image files: 1; images that cannot be decoded: 1" in summary_line(check)
    [reason] = [each.rows["reason"].item() for each in check.findings if "reason" in each.rows.columns]
    assert reason in said(check)


def test_workers_find_what_one_process_finds(shop: Path):
    (shop / "train/b0.jpg").write_bytes(b"no image")
    assert found(checked(shop, workers=2)) == found(checked(shop, workers=0))


def test_copies_within_a_class_are_counted_and_are_no_fault(shop: Path):
    shutil.copy(shop / "train/a1.jpg", shop / "train/a2.jpg")
    check = checked(shop)
    assert check.is_sound
    assert check.copies == 2
    assert "2 of these are byte-identical to another of their class" in said(check)


def test_a_query_that_is_trained_on_leaks_and_an_index_image_does_not(shop: Path):
    leak = [*ROWS, ("train/a0.jpg", "shop", "a", "shoes", "test", "both")]
    assert found(checked(shop, [*leak, ("train/a1.jpg", "shop", "a", "shoes", "test", "index")])) == {
        "queries that another split has as queries or as training images": ["train/a0.jpg"]
    }
    queries = [("test/c9.jpg", "shop", "a", "shoes", "test", "query")]
    shutil.copy(shop / "test/c0.jpg", shop / "test/c9.jpg")
    index = [(f"train/a{i}.jpg", "shop", "a", "shoes", "test", "index") for i in range(3)]
    check = check_data("met", manifest(shop, [*ROWS[:6], *queries, *index]), (), None, 0, shop.parent)
    assert check.is_sound


def test_a_training_image_of_two_classes_is_found(shop: Path):
    twice = ("train/a0.jpg", "shop", "b", "shoes", "train", "train")
    assert found(checked(shop, [*ROWS, twice])) == {"training images under several labels": ["train/a0.jpg"] * 2}


def test_a_count_that_differs_is_a_fault_and_one_that_rounds_to_the_printed_is_none(shop: Path):
    about = Count(split="train", role="train", images=10, classes=None, rounded=10, printed="Table 3")
    wrong = Count(split="train", role="train", images=7, classes=2, printed="Table 4")
    check = check_data("shop", manifest(shop), (about, wrong), 0, 0, shop.parent)
    assert [each.agrees for each in check.counts] == [True, False]
    assert not check.is_sound
    assert summary_line(check) == "shop is not sound: published counts that differ: 1"
    assert "DIFFERS from 7 images of 2 classes (Table 4)" in said(check)


@pytest.mark.parametrize("folder", [False, True])
def test_images_that_are_not_here_at_all_are_one_sentence(tmp_path: Path, folder: bool):
    if folder:
        (tmp_path / "other").mkdir()
    check = checked(tmp_path)
    assert check.absent == {"shop": tmp_path}
    assert not check.findings
    assert summary_line(check) == "shop is not sound: no images of shop"
    assert f"of shop ({tmp_path})" in said(check)


@pytest.mark.parametrize(
    ("here", "there", "says"),
    [
        ([0, 1], [0, 1, 2], "has 1 of them: add --source-root gldv2="),
        ([], [0, 1, 2], "has 3 of them: add --source-root gldv2="),
        ([0, 1], [2], "has 1 of them: put them into"),
        ([0, 1], [0], None),
        ([0, 1, 2], [0, 1, 2], None),
    ],
)
def test_a_second_copy_that_has_what_is_missing_is_named_with_the_option_that_takes_it(
    tmp_path: Path, here: list[int], there: list[int], says: str | None
):
    first, second = tmp_path / "gldv2/images", tmp_path / "google_landmark_recognition_2021"
    for folder, numbers in ((first, here), (second, there)):
        (folder / "train/0/0/0").mkdir(parents=True)
        for i in numbers:
            Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"train/0/0/0/000{i}.jpg")
    (second / "train.csv").write_text("id,landmark_id\n0000,7\n0001,7\n0002,7\n")
    check = check_data("gldv2", resolve_data("gldv2", tmp_path), (), 0, 0, tmp_path)
    [*lines] = [line for line in said(check).splitlines() if "missing images of gldv2" in line]
    assert len(lines) == (says is not None)
    if says:
        assert lines[0].startswith(f"  missing images of gldv2: {second} {says}")


def test_the_sample_is_the_same_each_time_and_leaves_out_what_is_missing(shop: Path):
    for i in range(3):
        (shop / f"train/a{i}.jpg").write_bytes(b"")
    (shop / "train/b0.jpg").unlink()
    first, second = (checked(shop, sample=5) for _ in range(2))
    assert first.decoded == second.decoded == 5
    assert found(first) == found(second)
    assert checked(shop, sample=100).decoded == 9


def test_all_findings_are_in_the_file_and_the_first_five_on_screen(shop: Path, tmp_path: Path):
    for i in range(3):
        for label in "ab":
            (shop / f"train/{label}{i}.jpg").write_bytes(b"")
    check = checked(shop)
    path = tmp_path / "checks" / "shop.csv"
    write_findings(check, path)
    written = pl.read_csv(path)
    assert written.columns == ["problem", "source", "image", "detail"]
    assert sorted(written["image"]) == sorted(row[0] for row in ROWS[:6])
    assert written["detail"].str.contains("it is empty").all()
    shown = [line for line in said(check).splitlines() if line.startswith("    shop, train/")]
    assert len(shown) == 5
    write_findings(checked(shop, sample=0), path)
    assert not path.exists()
