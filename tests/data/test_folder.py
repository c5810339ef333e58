import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from probe.data.decoding import FORMATS
from probe.data.folder import SUFFIXES, image_folder
from probe.errors import UsageError
from tests.conftest import examples

CLASSES = [f"class {i}" for i in range(20)]


def photos(folder: Path, names: list[str]) -> Path:
    """Files of these names; the reader of folders does not look into them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_first_folder_is_the_label_and_deeper_folders_belong_to_it(tmp_path: Path) -> None:
    folder = photos(tmp_path / "shoes", ["boot/1.jpg", "boot/old/winter/2.JPG", "pump/1.webp", "loose.png"])
    manifest = image_folder(folder)
    assert dict(manifest.frame.select("image", "label").iter_rows()) == {
        "boot/1.jpg": "boot",
        "boot/old/winter/2.JPG": "boot",
        "pump/1.webp": "pump",
        "loose.png": "shoes",
    }
    assert (manifest.sources, manifest.domains, manifest.roots) == (["shoes"], ["shoes"], {"shoes": folder})


def test_only_images_are_taken(tmp_path: Path) -> None:
    folder = photos(tmp_path / "shoes", ["a/1.jpg", "a/1.txt", "a/Thumbs.db", "a/jpg", "readme.md"])
    assert image_folder(folder).images("shoes") == ["a/1.jpg"]


def test_images_of_every_format_that_extraction_decodes_are_taken(tmp_path: Path) -> None:
    Image.init()
    decoded = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert decoded | {".avif", ".heic", ".heif", ".hif"} >= SUFFIXES  # which not every Pillow has
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "JPEG2000", "PPM"} <= {
        kind for suffix, kind in Image.registered_extensions().items() if suffix in SUFFIXES
    }
    names = [f"a/{i}{suffix}" for i, suffix in enumerate(sorted(SUFFIXES))]
    assert sorted(image_folder(photos(tmp_path / "odd", names)).images("odd")) == sorted(names)


def test_classes_are_divided_60_15_25_and_no_class_is_in_two_splits(tmp_path: Path) -> None:
    manifest = image_folder(photos(tmp_path / "p", [f"{name}/{i}.jpg" for name in CLASSES for i in range(3)]))
    of_split = {split: set(manifest.split(split)["label"]) for split in ("train", "val", "test")}
    assert {split: len(labels) for split, labels in of_split.items()} == {"train": 12, "val": 3, "test": 5}
    assert set.union(*of_split.values()) == set(CLASSES)
    assert set(manifest.split("train")["role"]) == {"train"}
    assert set(manifest.split("val")["role"]) == set(manifest.split("test")["role"]) == {"both"}


@examples(10, 100)
@given(order=st.permutations([f"{name}/{i}.jpg" for name in CLASSES[:8] for i in range(2)]))
def test_the_order_in_which_files_came_to_be_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    first = image_folder(photos(tmp_path_factory.mktemp("one") / "photos", sorted(order)))
    other = image_folder(photos(tmp_path_factory.mktemp("two") / "photos", order))
    assert first.frame.equals(other.frame)
    assert first.digest == other.digest


def test_the_division_does_not_depend_on_the_images_in_a_class(tmp_path: Path) -> None:
    few = image_folder(photos(tmp_path / "few", [f"{name}/1.jpg" for name in CLASSES]))
    many = image_folder(photos(tmp_path / "many", [f"{name}/{i}.png" for name in CLASSES for i in range(4)]))
    assert set(few.split("test")["label"]) == set(many.split("test")["label"])


def test_decomposed_names_are_composed(tmp_path: Path) -> None:
    name = "caf\u00e9/\u00fc.jpg"
    folder = photos(tmp_path / "p", [unicodedata.normalize("NFD", name)])
    assert image_folder(folder).frame.select("image", "label").row(0) == (name, "caf\u00e9")


def test_the_current_folder_can_be_given_as_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos(tmp_path / "shoes", ["1.jpg", "boot/1.jpg"]))
    manifest = image_folder(Path())
    assert manifest.sources == ["shoes"]
    assert sorted(manifest.frame["label"]) == ["boot", "shoes"]


def test_a_class_that_is_a_link_to_a_folder_is_not_silently_left_out(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", ["2.jpg"])
    folder = photos(tmp_path / "shoes", ["boot/1.jpg"])
    (folder / "pump").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert image_folder(folder).images("shoes") == ["boot/1.jpg", "pump/2.jpg"]


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    folder = photos(tmp_path / "shoes", ["boot/1.jpg"])
    try:
        (folder / os.fsdecode(b"boot/\xff2.jpg")).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(UsageError, match=r"2\.jpg"):
        image_folder(folder)


@pytest.mark.parametrize("content", [[], ["a/notes.txt"]], ids=["empty", "no images"])
def test_a_folder_without_images_is_refused(tmp_path: Path, content: list[str]) -> None:
    with pytest.raises(UsageError, match=r"holds neither a manifest\.csv nor images \(\.avif, "):
        image_folder(photos(tmp_path, content))
