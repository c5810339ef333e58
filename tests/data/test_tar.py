import io
import os
import tarfile
from pathlib import Path
from random import Random

import numpy as np
import pytest

from probe.data import tar as tar_module
from probe.data import tar_index
from probe.data.folder import image_folder
from probe.data.images import has_image, read_image
from probe.data.resolve import resolve_data
from probe.data.tar import members
from probe.errors import UsageError
from tests.conftest import slow
from tests.faults.mutations import mutate


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def labels(folder: Path) -> dict[str, str]:
    return dict(image_folder(folder).frame.select("image", "label").iter_rows())


def test_a_member_is_read_by_its_id_and_loose_files_beside_it(tmp_path: Path) -> None:
    long = "very " * 40 + "long.jpg"
    tar(tmp_path / "a" / "0.tar", {"1.jpg": b"one", "./sub/2.jpg": b"two", long: b"three", "cafe\u0301.jpg": b"four"})
    (tmp_path / "loose.jpg").write_bytes(b"five")
    ids = ["a/0.tar/1.jpg", "a/0.tar/sub/2.jpg", f"a/0.tar/{long}", "a/0.tar/caf\u00e9.jpg", "loose.jpg"]
    assert [read_image(tmp_path, image) for image in ids] == [b"one", b"two", b"three", b"four", b"five"]
    assert all(has_image(tmp_path, image) for image in ids)
    assert sorted(labels(tmp_path)) == sorted(ids)


def test_what_is_not_there_is_not_there(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", {"1.jpg": b"one"})
    assert not any(has_image(tmp_path, image) for image in ("0.tar/2.jpg", "1.tar/1.jpg", "0.tar/1.jpg/x"))
    with pytest.raises(KeyError):
        read_image(tmp_path, "0.tar/2.jpg")


def test_a_folder_may_be_called_like_a_tar(tmp_path: Path) -> None:
    (tmp_path / "old.tar").mkdir()
    (tmp_path / "old.tar" / "1.jpg").write_bytes(b"loose")
    tar(tmp_path / "old.tar" / "0.tar", {"1.jpg": b"inside"})
    assert read_image(tmp_path, "old.tar/1.jpg") == b"loose"
    assert read_image(tmp_path, "old.tar/0.tar/1.jpg") == b"inside"


def test_a_tar_that_grew_is_indexed_anew_and_the_last_of_equal_names_counts(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", {"1.jpg": b"old"})
    assert read_image(tmp_path, "0.tar/1.jpg") == b"old"
    tar(path, {"1.jpg": b"newer"}, mode="a")
    assert read_image(tmp_path, "0.tar/1.jpg") == b"newer"


@pytest.mark.parametrize("between", [b"", bytes(20480)], ids=["padded", "with an empty record between"])
def test_tars_that_were_joined_are_read_to_the_end(tmp_path: Path, between: bytes) -> None:
    parts = [tar(tmp_path / "parts" / f"{i}.tar", {f"{i}/a.jpg": i.encode() * 700, f"{i}/b.jpg": b"b"}) for i in "123"]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(between.join(part.read_bytes() for part in parts))
    assert set(members(joined)) == {f"{i}/{name}.jpg" for i in "123" for name in "ab"}
    assert read_image(tmp_path, "joined.tar/3/a.jpg") == b"3" * 700


def test_a_hole_over_a_header_is_not_taken_for_the_end_of_one_of_several_tars(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", {f"{i}.jpg": b"x" * 512 for i in range(20)})
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"there is no header of a member at byte 4,096, and the file goes on"):
        members(path)


def test_two_members_that_become_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", {"caf\u00e9.jpg": b"one", "cafe\u0301.jpg": b"two"})
    with pytest.raises(UsageError, match=r"'caf\\xe9\.jpg' and 'cafe\\u0301\.jpg' become one name"):
        members(path)


def test_two_labels_of_one_webdataset_sample_are_an_error_that_names_both(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", {f"shot.{i}.{end}": str(i % 2).encode() for i in range(4) for end in ("jpg", "cls")})
    with pytest.raises(UsageError, match=r"the sample 'shot' has two labels, in shot\.0\.cls and in shot\.1\.cls"):
        image_folder(tmp_path)


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo(f"{kind!r}.jpg")
            member.type, member.linkname = kind, "../secret.jpg"
            archive.addfile(member)
    assert sorted(labels(tmp_path)) == ["secret.jpg"]


@pytest.mark.parametrize("name", ["../../etc/1.jpg", "/etc/1.jpg", "a/../../1.jpg"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    tar(tmp_path / "0.tar", {name: b"x"})
    with pytest.raises(UsageError, match="an image path that is not relative to the source's root"):
        image_folder(tmp_path)


def test_a_webdataset_samples_label_is_its_cls_or_the_label_in_its_json(tmp_path: Path) -> None:
    files = {"0.jpg": b"", "0.cls": b"7\n", "1.png": b"", "1.json": b'{"label": "boot"}', "2.jpg": b"", "2.json": b"{}"}
    files |= {"3.jpg": b"", "3.json": b'{"label": 4}', "3.cls": b"5", "4.jpg": b"", "4.json": b'{"label": 4}'}
    tar(tmp_path / "shoes" / "0.tar", files)
    expected = {"0.jpg": "7", "1.png": "boot", "2.jpg": "shoes", "3.jpg": "5", "4.jpg": "4"}
    assert labels(tmp_path / "shoes") == {f"0.tar/{name}": label for name, label in expected.items()}


def test_a_tar_counts_as_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    tar(tmp_path / "boot" / "0.tar", {"1.jpg": b"", "old/2.jpg": b""})
    tar(tmp_path / "1.tar", {"pump/3.jpg": b"", "._4.jpg": b"", "notes.txt": b""})
    assert labels(tmp_path) == {"boot/0.tar/1.jpg": "boot", "boot/0.tar/old/2.jpg": "boot", "1.tar/pump/3.jpg": "pump"}


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "empty"), (b"no tar at all" * 99, "invalid header|truncated"), (b"\x1f\x8b\x08" + bytes(999), "")],
    ids=["empty", "text", "gzip"],
)
def test_what_is_no_tar_is_an_error_that_names_it(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(UsageError, match=rf"0\.tar cannot be read as an uncompressed tar \(.*{what}"):
        image_folder(tmp_path)


def test_a_tar_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", {"1.jpg": bytes(5000), "2.jpg": bytes(5000)})
    path.write_bytes(path.read_bytes()[:8000])
    with pytest.raises(
        UsageError,
        match=r"0\.tar cannot be read as an uncompressed tar \(the member at byte 5,632 is longer than the file\)",
    ):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"{", "is not JSON"), (b'{"label": [1]}', "neither text nor a"), (b'{"label": 2.5}', "2.5, and a fraction")],
)
def test_a_label_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: bytes, what: str) -> None:
    tar(tmp_path / "0.tar", {"1.jpg": b"", "1.json": content})
    with pytest.raises(UsageError, match=rf"0\.tar: .*{what}"):
        image_folder(tmp_path)


def test_one_tar_is_not_taken_for_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is one tar; name the folder that it lies in"):
        resolve_data(str(tar(tmp_path / "0.tar", {"1.jpg": b""})), tmp_path)


def whole(path: Path, files: int = 12) -> dict[str, bytes]:
    """What the tar at `path` holds."""
    rng = np.random.default_rng(0)
    content = {f"class {i % 3}/{i}.jpg": rng.bytes(int(rng.integers(0, 1500))) for i in range(files)}
    tar(path, content)
    return content


def require_right_or_refused(path: Path, expected: dict[str, bytes]) -> bool:
    """Whether it was refused. Contents have no digest in a tar; names and sizes must be right."""
    try:
        found = members(path)
    except UsageError:
        return True
    assert {name: place.size for name, place in found.items()} == {name: len(data) for name, data in expected.items()}
    return False


@pytest.mark.parametrize("seed", [0, slow(1), slow(2)])
def test_a_flipped_bit_in_any_header_is_an_error_and_loses_no_image_silently(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "0.tar"
    expected = whole(path)
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    with tarfile.open(path) as archive:
        headers = [member.offset for member in archive]
    refused = 0
    for i, header in enumerate(headers * 3):
        changed = bytearray(content)
        changed[header + int(rng.integers(512))] ^= 1 << int(rng.integers(8))
        copy = tmp_path / f"{i}.tar"
        copy.write_bytes(changed)
        refused += require_right_or_refused(copy, expected)
    assert refused > len(headers)


def test_a_tar_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    expected = whole(path)
    content = path.read_bytes()
    end = max(place.offset + place.size for place in members(path).values())
    with tarfile.open(path) as archive:
        boundaries = [member.offset for member in archive][1:]
    for i, length in enumerate([*boundaries, *range(1, end, 701), end, end + 512]):
        copy = tmp_path / f"cut {i}.tar"
        copy.write_bytes(content[:length])
        assert require_right_or_refused(copy, expected), length


def test_a_hole_and_what_follows_the_end_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    whole(path)
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        header = [member.offset for member in archive][5]
    for i, changed in enumerate((content[:header] + bytes(1024) + content[header + 1024 :], content + b"x" * 512)):
        copy = tmp_path / f"changed {i}.tar"
        copy.write_bytes(changed)
        with pytest.raises(UsageError, match="and the file goes on"):
            members(copy)


def test_a_member_that_claims_more_than_the_file_holds_is_an_error(tmp_path: Path) -> None:
    member = tarfile.TarInfo("1.jpg")
    member.size = 1 << 62
    (tmp_path / "0.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(UsageError, match="is longer than the file"):
        members(tmp_path / "0.tar")


def test_a_tar_that_was_cut_off_or_replaced_since_it_was_indexed_is_not_read_short_or_elsewhere(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", {"1.jpg": b"x" * 5000})
    place = members(path)["1.jpg"]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(OSError, match="the tar ends before its member"):
        tar_module._content(path, place)
    path.write_bytes(bytes(9000))
    with pytest.raises(OSError, match="the tar has changed since it was looked through"):
        tar_module._content(path, place)


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """So many members that its index is kept, in a cache of its own."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "features"))
    return tar(tmp_path / "shards" / "0.tar", {f"{number:04}.jpg": f"{number}".encode() for number in range(1_000)})


def places(shard: Path) -> dict[str, tar_index.Place]:
    """As the next process finds them."""
    tar_module._members.cache_clear()
    return members(shard)


def test_the_members_of_a_tar_are_looked_for_once_for_all_processes(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = places(shard)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        assert places(shard) == found
    assert read_image(shard.parent, "0.tar/0999.jpg") == b"999"


@pytest.mark.parametrize("cases", [10, slow(100)])
def test_a_damaged_index_is_made_anew(shard: Path, cases: int) -> None:
    found = places(shard)
    file = tar_index.index_file(shard)
    whole = file.read_bytes()
    for seed in range(cases):
        file.write_bytes(mutate(whole, Random(f"{seed}")))
        assert places(shard) == found
        assert file.read_bytes() == whole


def test_an_index_is_not_that_of_another_tar_not_even_of_one_of_the_same_size_and_time(shard: Path) -> None:
    found, status = places(shard), shard.stat()
    os.utime(shard, ns=(1, 1))
    assert places(shard) == found
    replaced = tar(shard, {f"{number:04}.png": f"{number}".encode() for number in range(1_000)})
    assert replaced.stat().st_size == status.st_size
    os.utime(shard, ns=(1, 1))
    assert sorted(places(shard)) == [f"{number:04}.png" for number in range(1_000)]


def test_where_an_index_cannot_be_kept_the_tar_is_read(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_CACHE", "/proc/features")
    assert len(places(shard)) == 1_000


def test_few_members_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "features"))
    assert members(tar(tmp_path / "0.tar", {"1.jpg": b"one"}))
    assert not (tmp_path / "features").exists()
