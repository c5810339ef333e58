import io
import os
import tarfile
import unicodedata
from pathlib import Path

import pytest

from probe.data.images import has_image, missing_images
from probe.errors import UsageError


def tar(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_what_is_missing_is_what_a_look_at_each_image_misses(tmp_path: Path) -> None:
    files(tmp_path, "a/1.jpg", "a/b/1.jpg", "top.jpg", "folder.tar/1.jpg", "folder.tar/deep/1.jpg", "a/dir.jpg/x")
    files(tmp_path, unicodedata.normalize("NFD", "café/é.jpg"), "naïve/1.jpg")
    tar(tmp_path / "a/shard.tar", ["1.jpg", "sub/2.jpg", "cafe\u0301.jpg"])
    (tmp_path / "a/link.jpg").symlink_to(tmp_path / "top.jpg")
    (tmp_path / "a/dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    there = ["a/1.jpg", "a/b/1.jpg", "top.jpg", "folder.tar/1.jpg", "folder.tar/deep/1.jpg", "café/é.jpg"]
    there += ["naïve/1.jpg", "a/shard.tar/1.jpg", "a/shard.tar/sub/2.jpg", "a/shard.tar/café.jpg", "a/link.jpg"]
    gone = ["a/2.jpg", "b/1.jpg", "a/dir.jpg", "a/dangling.jpg", "a/shard.tar/3.jpg", "x.tar/1.jpg", "1.jpg", "a/b"]
    gone += ["a/1.jpg/x", "folder.tar/2.jpg", "café/2.jpg"]
    images = [image for pair in zip(gone, there, strict=True) for image in pair]
    assert missing_images(tmp_path, images) == gone
    assert [image for image in images if not has_image(tmp_path, image)] == gone


def test_folders_are_listed_and_images_that_are_there_are_not_looked_at_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{folder}/{number}.jpg" for folder in "abc" for number in range(50)]
    files(tmp_path, *names)
    listed: list[str] = []
    real = os.scandir
    monkeypatch.setattr("probe.data.images.os.scandir", lambda path: listed.append(str(path)) or real(path))
    monkeypatch.setattr("probe.data.images.has_image", lambda *_: pytest.fail("looked at one image"))
    assert missing_images(tmp_path, names) == []
    assert sorted(listed) == [str(tmp_path / folder) for folder in "abc"]


def test_a_tar_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"junk" * 1000)
    with pytest.raises(UsageError, match="cannot be read as an uncompressed tar"):
        missing_images(tmp_path, ["0.tar/1.jpg"])
