import csv
import json
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probe.data import sample
from probe.data.sample import SAMPLE_IMAGES, SAMPLE_VERSION, SampleClass, build_sample, draw, ensure_sample, plan
from probe.errors import UsageError
from tests.conftest import slow

Rows = list[dict[str, str]]


@pytest.fixture(scope="module", params=["small", slow("whole")])
def size(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def classes(size: str, small_classes: list[SampleClass]) -> list[SampleClass]:
    return small_classes if size == "small" else plan()


@pytest.fixture(scope="module")
def built(size: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if size == "small":
        return request.getfixturevalue("small_sample") / "sample"
    return ensure_sample(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(built: Path) -> Rows:
    with (built / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    few = plan()[::100]
    monkeypatch.setattr(sample, "plan", lambda: few)


def by_class(rows: Rows, column: str) -> dict[tuple[str, str], list[str]]:
    values = defaultdict(list)
    for row in rows:
        values[row["domain"], row["label"]].append(row[column])
    return values


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_manifest_lists_exactly_the_images_on_disk_in_order(
    built: Path, rows: Rows, classes: list[SampleClass]
) -> None:
    images = [row["image"] for row in rows]
    assert images == sorted(path.relative_to(built).as_posix() for path in built.rglob("*.jpg"))
    assert len(images) == sum(each.images for each in classes)
    assert sum(each.images for each in plan()) == SAMPLE_IMAGES


def test_the_manifest_has_the_columns_of_every_manifest(rows: Rows) -> None:
    assert tuple(rows[0]) == ("image", "source", "label", "domain", "split", "role")
    assert {row["source"] for row in rows} == {"sample"}
    assert {(row["split"], row["role"]) for row in rows} == {
        ("train", "train"),
        ("val", "both"),
        ("test", "both"),
    }
    assert all(row["image"].startswith(f"{row['domain']}/{row['label']}/") for row in rows)


def test_the_sample_is_a_small_instance_retrieval_benchmark(rows: Rows) -> None:
    sizes = {name: len(images) for name, images in by_class(rows, "image").items()}
    assert len({domain for domain, _ in sizes}) == 7
    assert len(sizes) == 307
    assert min(sizes.values()) >= 4


def test_no_class_is_in_two_splits_and_every_domain_is_in_all_of_them(rows: Rows) -> None:
    splits = {name: set(splits) for name, splits in by_class(rows, "split").items()}
    assert all(len(split) == 1 for split in splits.values())
    for domain in {domain for domain, _ in splits}:
        classes = [next(iter(split)) for (other, _), split in splits.items() if other == domain]
        assert classes.count("train") / len(classes) == pytest.approx(0.55, abs=0.06)
        assert classes.count("val") >= 2
        assert classes.count("test") / len(classes) == pytest.approx(0.30, abs=0.02)


def test_regions_of_different_classes_do_not_overlap() -> None:
    for one, other in combinations(plan(), 2):
        assert not any(a.overlaps(b) for a in one.regions for b in other.regions), (one.name, other.name)


def test_regions_lie_inside_their_pictures() -> None:
    for region in (region for each in plan() for region in each.regions):
        width, height = sample._picture(region.picture).size
        assert min(region.left, region.top) >= 0
        assert region.right <= width
        assert region.bottom <= height


def test_garage_views_alternate_between_the_two_cameras() -> None:
    garage = [each for each in plan() if each.domain == "garage"]
    for each in garage:
        cameras = [region.picture for region, _ in each.shots()]
        assert cameras == ["garage", "garage-second"] * 5


def test_the_second_camera_sees_a_place_further_left() -> None:
    for first, second in (each.regions for each in plan() if each.domain == "garage"):
        assert second.left < first.left
        assert second.top == first.top


def test_no_image_is_blank(built: Path, rows: Rows) -> None:
    for row in rows:
        with Image.open(built / row["image"]) as image:
            assert image.mode == "RGB"
            assert image.size == (128, 128)
            assert np.ptp(np.asarray(image)) > 20, row["image"]


def test_a_class_drawn_alone_is_byte_identical_to_the_one_in_the_build(
    built: Path, tmp_path: Path, classes: list[SampleClass]
) -> None:
    for each in reversed(classes[::40]):
        for path in draw(each, tmp_path):
            assert path.read_bytes() == (built / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.usefixtures("small_plan")
def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    build_sample(tmp_path / "one")
    build_sample(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.usefixtures("small_plan")
def test_progress_is_told_once_per_image(tmp_path: Path) -> None:
    steps: list[int] = []
    build_sample(tmp_path / "sample", steps.append)
    assert steps == [1] * len(list(tmp_path.rglob("*.jpg")))


def interrupt_after(images: int) -> Callable[[int], None]:
    left = iter(range(images))

    def advance(_: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return advance


@pytest.mark.usefixtures("small_plan")
def test_an_interrupted_build_is_redone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_sample(tmp_path / "sample", interrupt_after(3))
    assert not (tmp_path / "sample").exists()
    ensure_sample(tmp_path)
    build_sample(tmp_path / "undisturbed")
    assert contents(tmp_path / "sample") == contents(tmp_path / "undisturbed")
    assert {path.name for path in tmp_path.iterdir()} == {"sample", "undisturbed"}


@pytest.mark.usefixtures("small_plan")
def test_a_finished_sample_is_not_built_again(tmp_path: Path) -> None:
    folder = ensure_sample(tmp_path)
    (folder / "a note").touch()
    ensure_sample(tmp_path)
    assert (folder / "a note").exists()


@pytest.mark.usefixtures("small_plan")
def test_a_sample_of_another_version_is_rebuilt(tmp_path: Path) -> None:
    folder = ensure_sample(tmp_path)
    (folder / "sample.json").write_text(json.dumps({"version": SAMPLE_VERSION - 1}))
    (folder / "stale.jpg").touch()
    ensure_sample(tmp_path)
    assert json.loads((folder / "sample.json").read_text())["version"] == SAMPLE_VERSION
    assert not (folder / "stale.jpg").exists()


def test_a_folder_that_is_not_ours_is_never_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "sample" / "holiday.jpg"
    photo.parent.mkdir()
    photo.touch()
    with pytest.raises(UsageError, match="not a sample that probe has built"):
        ensure_sample(tmp_path)
    assert photo.exists()
