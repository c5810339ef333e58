import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from probe.data.decoding import FORMATS
from probe.data.folder import IMAGE_SUFFIXES, image_folder, image_ids
from probe.errors import UsageError
from tests.conftest import examples
from tests.data.test_tar import tar

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


def test_images_beside_the_folders_of_classes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = [f"{name}/1.jpg" for name in ("boot", "pump", "clog", "sandal")]
    image_folder(photos(tmp_path / "shoes", classes))
    image_folder(photos(tmp_path / "flat", ["1.jpg", "2.jpg"]))
    assert "beside the" not in capsys.readouterr().err
    image_folder(photos(tmp_path / "shoes", ["IMG_2.jpg", "IMG_1.jpg"]))
    said = "shoes: 2 image(s) beside the folders of the classes, such as IMG_1.jpg, are the class 'shoes'"
    assert said in capsys.readouterr().err


def test_only_images_are_taken(tmp_path: Path) -> None:
    folder = photos(tmp_path / "shoes", ["a/1.jpg", "a/1.txt", "a/Thumbs.db", "a/jpg", "readme.md"])
    assert image_folder(folder).images("shoes") == ["a/1.jpg"]


def test_images_of_every_format_that_extraction_decodes_are_taken(tmp_path: Path) -> None:
    Image.init()
    decoded = {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert decoded | {".avif", ".heic", ".heif", ".hif"} >= IMAGE_SUFFIXES  # which not every Pillow has
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "JPEG2000", "PPM"} <= {
        kind for suffix, kind in Image.registered_extensions().items() if suffix in IMAGE_SUFFIXES
    }
    names = [f"a/{i}{suffix}" for i, suffix in enumerate(sorted(IMAGE_SUFFIXES))]
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


def test_links_that_lead_nowhere_are_passed_over_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos(tmp_path / "shoes", ["a/1.jpg"])
    (folder / "a" / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "loop").symlink_to(folder / "loop")
    assert image_ids(folder) == ["a/1.jpg"]
    assert "passed over, as no images: 2 linked to nothing" in capsys.readouterr().err


def test_links_out_of_a_folder_are_followed_which_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "elsewhere", ["2.jpg"])
    folder = photos(tmp_path / "shoes", ["boot/1.jpg"])
    (folder / "pump").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "boot" / "3.jpg").symlink_to(tmp_path / "elsewhere" / "2.jpg")
    assert image_folder(folder).images("shoes") == ["boot/1.jpg", "boot/3.jpg", "pump/2.jpg"]
    assert "shoes: 2 symbolic link(s) in it are followed, wherever they lead" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "second"), [("a", "z"), ("z", "a")])
def test_a_link_to_a_folder_beside_it_gives_its_images_another_name_whichever_is_found_first(
    tmp_path: Path, first: str, second: str
) -> None:
    folder = photos(tmp_path / "shoes", [f"{first}/1.jpg"])
    (folder / second).mkdir()
    (folder / second / "same").symlink_to(folder / first, target_is_directory=True)
    assert image_ids(folder) == sorted([f"{first}/1.jpg", f"{second}/same/1.jpg"])


def test_a_link_to_a_folder_that_it_lies_in_has_an_end(tmp_path: Path) -> None:
    folder = photos(tmp_path / "shoes", ["boot/1.jpg"])
    (folder / "boot" / "round").symlink_to(folder, target_is_directory=True)
    assert image_ids(folder) == ["boot/1.jpg"]


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


def cells(folder: Path) -> dict[str, tuple[str, str, str]]:
    """Image -> label, split, role."""
    rows = image_folder(folder).frame.select("image", "label", "split", "role").iter_rows()
    return {image: (label, split, role) for image, label, split, role in rows}


def test_folders_called_like_splits_are_splits_with_their_classes_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["Train/boot/1.jpg", "Train/pump/old/2.jpg", "valid/boot/3.jpg", "queries/clog/4.jpg", "gallery/clog/5.jpg"]
    folder = photos(tmp_path / "shoes", names)
    assert cells(folder) == {
        "Train/boot/1.jpg": ("boot", "train", "train"),
        "Train/pump/old/2.jpg": ("pump", "train", "train"),
        "valid/boot/3.jpg": ("boot", "val", "both"),
        "queries/clog/4.jpg": ("clog", "test", "query"),
        "gallery/clog/5.jpg": ("clog", "test", "index"),
    }
    assert (
        "is read as splits, by the names of its folders: Train/ is train (2 classes), valid/ is val (one class), "
        "queries/ is the queries of test (one class), gallery/ is the index of test (one class)"
    ) in capsys.readouterr().err


def test_a_training_folder_alone_has_nothing_to_score_on_which_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos(tmp_path / "shoes", [f"training/{name}/1.jpg" for name in CLASSES])
    assert set(image_folder(folder).frame["split"]) == {"train"}
    assert "there is nothing to score on: name its folder alone to have its classes divided" in capsys.readouterr().err


def test_what_lies_beside_splits_is_passed_over_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["train/boot/1.jpg", "test/pump/2.jpg", "unlabelled/3.jpg", "unlabelled/4.jpg", "5.jpg"]
    assert set(cells(photos(tmp_path / "shoes", names))) == {"train/boot/1.jpg", "test/pump/2.jpg"}
    assert "; 3 image(s) elsewhere in it are passed over\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["train/1.jpg", "test/2.jpg"], r"train, test are called like splits, and \w+/\d\.jpg lies in no class"),
        (["query/a/1.jpg", "index/2.jpg"], r"query, index are called like splits, and index/2\.jpg lies in no class"),
        (
            ["train/1.jpg", "val/2.jpg", "bus/2.jpg"],
            r"train, val are called like splits, and \w+/\d\.jpg lies in no class",
        ),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(tmp_path: Path, names: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        image_folder(photos(tmp_path / "shoes", names))


def test_one_class_that_is_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    folder = photos(tmp_path / "vehicles", ["train/1.jpg", "bus/2.jpg", "tram/3.jpg", "car/4.jpg"])
    assert set(image_folder(folder).frame["label"]) == {"train", "bus", "tram", "car"}
    assert image_folder(photos(tmp_path / "new", ["test/1.jpg"])).frame["label"].to_list() == ["test"]


@pytest.mark.parametrize(
    ("classes", "how"),
    [
        (1, r"has one class (class 0): 1 for train, none for val, none for test."),
        (2, r"has 2 classes (class 0, class 1): 1 for train, 1 for val, none for test."),
        (3, r"has 3 classes (class 0, class 1, class 2): 2 for train, none for val, 1 for test."),
    ],
)
def test_too_few_classes_for_a_fit_are_told_at_once(
    tmp_path: Path, classes: int, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder(photos(tmp_path / "p", [f"{name}/{i}.jpg" for name in CLASSES[:classes] for i in range(3)]))
    said = capsys.readouterr().err
    assert how in said
    assert "needs at least 4, each a folder, or a manifest that says the splits; features need none." in said
    image_folder(photos(tmp_path / "p", [f"{name}/{i}.jpg" for name in CLASSES[:4] for i in range(3)]))
    assert "needs at least" not in capsys.readouterr().err


def test_what_is_passed_over_is_said_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["a/1.MOV", "b/2.mov", "3.svg", "a/4.tgz", "5.jpg.", "README", ".hidden", "a/Mr. Smith's picture"]
    folder = photos(tmp_path / "p", ["a/1.jpg", "b/1.jpg", "c/1.jpg", "d/1.jpg", *odd])
    for read in (image_folder, image_ids):
        read(folder)
        assert capsys.readouterr().err == (
            f"{folder}: passed over, as no images: "
            "2 .mov, 2 without a suffix, 1 .svg, 1 .tgz, 1 with a dot at the end\n"
        )
    image_folder(photos(tmp_path / "clean", [f"{name}/1.jpg" for name in "abcd"]))
    assert not capsys.readouterr().err


def test_of_many_kinds_that_are_passed_over_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder(photos(tmp_path / "p", [f"{name}/1.jpg" for name in "abcd"] + [f"1.{i:03}" for i in range(14)]))
    assert "1 .000, 1 .001, 1 .002, 1 .003, 1 .004, 1 .005, 1 .006, 1 .007, 1 .008, 1 .009, 4 of other kinds\n" in (
        capsys.readouterr().err
    )


def test_a_folder_of_other_files_says_which(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"loose or in \.tar files, only 2 \.mp4\.$"):
        image_folder(photos(tmp_path / "p", ["a/1.mp4", "a/2.mp4"]))


@pytest.mark.parametrize("names", [["{}.jpg"], ["boot/{}/1.jpg"]], ids=["files", "folders"])
def test_two_files_or_folders_that_become_one_are_an_error_that_names_both(tmp_path: Path, names: list[str]) -> None:
    spellings = ["n\u00e9", "ne\u0301"]
    folder = photos(tmp_path / "p", [name.format(each) for name in names for each in spellings])
    if sum(1 for _ in folder.rglob("n*")) < 2:
        pytest.skip("this file system has one form of names only")
    with pytest.raises(UsageError, match=r"'ne?\\.*' and 'ne?\\.*become one id"):
        image_folder(folder)


def test_a_class_with_a_blank_at_an_end_is_an_error_that_shows_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the class 'boot\\xa0' has a blank at an end of its name; rename it"):
        image_folder(photos(tmp_path / "p", ["boot/1.jpg", "boot\u00a0/2.jpg"]))


def test_the_tars_of_split_folders_have_their_own_labels_or_their_folders(tmp_path: Path) -> None:
    tar(tmp_path / "p" / "train" / "0.tar", {"1.jpg": b"", "1.cls": b"7", "boot/2.jpg": b""})
    tar(tmp_path / "p" / "val" / "0.tar", {"1.jpg": b"", "1.json": b'{"label": 7}'})
    assert cells(tmp_path / "p") == {
        "train/0.tar/1.jpg": ("7", "train", "train"),
        "train/0.tar/boot/2.jpg": ("boot", "train", "train"),
        "val/0.tar/1.jpg": ("7", "val", "both"),
    }
