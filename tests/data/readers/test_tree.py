"""Classes in the paths of images: every image there has to match, and unzip's escapes are undone."""

from pathlib import Path

import pytest

from probe.data.escape import escaped, unescaped
from probe.data.images import missing_images, read_image
from probe.data.readers.base import reader_of
from probe.data.readers.tree import Tree
from probe.errors import UsageError
from tests.data.readers.conftest import Put

GPR = Tree.Config(
    file=("images",), match={"path": r"^(?P<category>\d+)_"}, image="{path}", label="{category}", part="test"
)
RP2K = Tree.Config(
    file=("train",), match={"path": "^(?P<class>[^/]+)/"}, image="train/{path}", label="{class}", part="train"
)


def test_the_rows_are_sorted_whatever_the_listing_order(put: Put):
    for name in ("9_b.jpg", "10_a.jpg", "9_a.jpg"):
        folder = put(f"images/{name}", b"").parent
    assert reader_of(GPR).rows(folder)["image"].to_list() == ["10_a.jpg", "9_a.jpg", "9_b.jpg"]


def test_an_image_that_does_not_match_is_an_error(put: Put):
    put("images/9_b.jpg", b"")
    folder = put("images/cover.jpg", b"").parent
    with pytest.raises(UsageError, match=r"row 2: a 'path' that is not like .* \(path 'cover\.jpg'\)"):
        reader_of(GPR).rows(folder)


def test_files_that_are_no_images_are_no_part_of_it(put: Put):
    put("images/desktop.ini", b"")
    folder = put("images/9_b.jpg", b"").parent
    assert reader_of(GPR).rows(folder).height == 1


def test_a_folder_without_images_is_an_error(tmp_path: Path):
    with pytest.raises(UsageError, match=r"holds no images; extract the data set there"):
        reader_of(GPR).rows(tmp_path)


@pytest.mark.parametrize("name", ["农夫/山泉.jpg", "a/b.jpg", "café/é.jpg", "#1/x.jpg", "😀/1.jpg"])
def test_unescaping_undoes_escaping(name: str):
    assert unescaped(escaped(name)) == name
    assert escaped(name).isascii()


def test_an_image_is_found_under_either_form_of_its_name(put: Put, tmp_path: Path):
    folder = put("train/#U519c#U592b/1.jpg", b"escaped").parents[1]
    put("train/康师傅/2.jpg", b"proper")
    rows = reader_of(RP2K).rows(folder)
    assert sorted(rows["label"].to_list()) == ["农夫", "康师傅"]
    assert missing_images(tmp_path, rows["image"].to_list()) == []
    assert [read_image(tmp_path, image) for image in rows["image"]] == [b"escaped", b"proper"]
