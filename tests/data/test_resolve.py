import json
import re
from pathlib import Path

import pytest

from probe.data.manifest import COLUMNS, ORIGIN
from probe.data.resolve import MissingDataError, known_data, resolve_data, source_roots
from probe.errors import UsageError

ROW = "a.jpg,pets,cat,animals,test,both"


def data(folder: Path, label: str = "cat") -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.csv").write_text(f"{','.join(COLUMNS)}\n{ROW.replace('cat', label)}\n")
    return folder


def test_data_is_a_manifest_a_folder_that_has_one_or_a_name_below_the_data_root(tmp_path: Path) -> None:
    folder = data(tmp_path / "root" / "pocket")
    for said in (str(folder / "manifest.csv"), str(folder), "pocket", "pocket/manifest.csv"):
        manifest = resolve_data(said, tmp_path / "root")
        assert (manifest.where, manifest.roots) == (str(folder / "manifest.csv"), {"pets": folder})


def test_a_folder_here_comes_before_one_below_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data(tmp_path / "root" / "pocket", "root")
    data(tmp_path / "here" / "pocket", "here")
    monkeypatch.chdir(tmp_path / "here")
    assert resolve_data("pocket", tmp_path / "root").frame["label"].to_list() == ["here"]


def test_parquet_comes_before_csv(tmp_path: Path) -> None:
    folder = data(tmp_path / "pocket")
    resolve_data(str(folder), tmp_path).frame.write_parquet(folder / "manifest.parquet")
    assert resolve_data(str(folder), tmp_path).where.endswith("manifest.parquet")


def test_a_folder_without_a_manifest_is_an_image_folder(tmp_path: Path) -> None:
    (tmp_path / "shoes" / "boot").mkdir(parents=True)
    (tmp_path / "shoes" / "boot" / "1.jpg").touch()
    assert resolve_data("shoes", tmp_path).images("shoes") == ["boot/1.jpg"]


def test_data_that_is_not_there_names_the_places_that_were_looked_at(tmp_path: Path) -> None:
    said = f"no data 'nowhere': neither nowhere nor {tmp_path / 'nowhere'} exists"
    with pytest.raises(MissingDataError, match=re.escape(said)):
        resolve_data("nowhere", tmp_path)


def test_roots_are_handed_on_to_the_manifest(tmp_path: Path) -> None:
    folder = data(tmp_path / "pocket")
    assert resolve_data(str(folder), tmp_path, {"pets": tmp_path}).roots == {"pets": tmp_path}


def test_a_root_for_an_image_folder_is_not_silently_ignored(tmp_path: Path) -> None:
    (tmp_path / "shoes").mkdir()
    (tmp_path / "shoes" / "1.jpg").touch()
    with pytest.raises(UsageError, match="pets"):
        resolve_data(str(tmp_path / "shoes"), tmp_path, {"pets": tmp_path})


def test_source_roots_are_read_from_assignments(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    assert source_roots([f"met={tmp_path}", f"sop={tmp_path}/a=b"]) == {"met": tmp_path, "sop": tmp_path / "a=b"}


@pytest.mark.parametrize("assignment", ["met", "met=", "met=/no/such/folder"])
def test_another_form_or_no_such_folder_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"--source-root {assignment}: write SOURCE=FOLDER")):
        source_roots([assignment])


def sources(path: Path, *names: str) -> Path:
    """A manifest with an image of each source."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(COLUMNS), *(ROW.replace("pets", name) for name in names)]) + "\n")
    return path


def test_sources_lie_beside_their_manifest_or_else_below_the_data_root(tmp_path: Path) -> None:
    path = sources(tmp_path / "mixed" / "manifest.csv", "met", "sop", "zoo")
    (tmp_path / "mixed" / "met").mkdir()
    expected = {"met": tmp_path / "mixed" / "met", "sop": tmp_path / "sop", "zoo": Path("/zoo")}
    assert resolve_data("mixed", tmp_path, {"zoo": Path("/zoo")}).roots == expected
    assert resolve_data(str(path), tmp_path, {"zoo": Path("/zoo")}).roots == expected


@pytest.mark.parametrize(
    ("recorded", "lies_in"),
    [
        ({"products-10k": "p10k/images"}, "p10k/images"),
        ({"products-10k": "/disk/p10k"}, "/disk/p10k"),
        ({}, "products-10k"),
    ],
)
def test_the_one_source_of_a_curated_manifest_lies_where_its_curation_says(
    tmp_path: Path, recorded: dict[str, str], lies_in: str
) -> None:
    path = sources(tmp_path / "a1" / "manifest.csv", "products-10k")
    plain = resolve_data("a1", tmp_path)
    assert plain.roots == {"products-10k": tmp_path / "a1"}
    curation = {"roots": recorded, "report": {"digest": plain.digest}}
    (path.parent / ORIGIN).write_text(json.dumps(curation))
    assert resolve_data("a1", tmp_path).roots == {"products-10k": tmp_path / lies_in}
    (tmp_path / "moved").mkdir()
    moved = {"products-10k": tmp_path / "moved"}
    assert resolve_data("a1", tmp_path, moved).roots == moved


def test_a_manifest_that_its_curation_does_not_describe_is_an_error(tmp_path: Path) -> None:
    path = sources(tmp_path / "a1" / "manifest.csv", "products-10k")
    (path.parent / ORIGIN).write_text('{"roots": {}, "report": {"digest": "another"}}')
    with pytest.raises(UsageError, match=r"is not the manifest that .*curation\.json describes; curate again"):
        resolve_data("a1", tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"roots": {}}', '{"roots": [1]}', '{"roots": {"products-10k": 3}}']
)
def test_a_damaged_curation_file_is_an_error(tmp_path: Path, content: str) -> None:
    path = sources(tmp_path / "a1" / "manifest.csv", "products-10k")
    (path.parent / ORIGIN).write_text(content)
    with pytest.raises(UsageError, match=r"curation\.json does not say where images lie; curate again, or delete it"):
        resolve_data("a1", tmp_path)


def test_an_unknown_name_is_told_the_nearest_known_one_and_an_empty_one_is_refused(tmp_path: Path):
    with pytest.raises(MissingDataError, match="did you mean 'sop'"):
        resolve_data("spo", tmp_path)
    with pytest.raises(UsageError, match="empty"):
        resolve_data("", tmp_path)


def test_where_a_known_data_set_is_not_there_the_folder_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sop").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError, match=r"for the folder here write \./sop\.$"):
        resolve_data("sop", tmp_path / "root")


def test_a_manifest_that_stands_in_for_published_annotations_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "sop").mkdir()
    (tmp_path / "sop/manifest.csv").write_text(f"{','.join(COLUMNS)}\n{ROW}\n")
    known_data("sop", tmp_path)
    assert "the published annotations are not here" in capsys.readouterr().err
