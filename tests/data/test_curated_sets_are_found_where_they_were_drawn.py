"""What a curated manifest says of its images' folders holds wherever it is written, whatever lies beside it, and
whenever its writer is killed; and what two data sets call the same is not the same."""

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from probe.data.curated import Curated, curate, write_curated
from probe.data.curation import Curation, Source
from probe.data.manifest import COLUMNS, Manifest
from probe.data.resolve import resolve_data
from probe.errors import UsageError
from tests.conftest import slow

ROOT = Path(__file__).resolve().parents[2]
ODD = "odd [place] é's\tand * more"


def data_set(source: str, root: Path, classes: int = 3, first: int = 0) -> Manifest:
    rows = [
        (f"{label}/{i}.jpg", source, str(label), "d", "train", "train")
        for label in range(first, first + classes)
        for i in range(4)
    ]
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"), {source: root}, f"the data set '{source}'")


def drawn(*parts: Manifest, name: str = "mine") -> Curated:
    facts = {"title": "T", "printed": None, "seed": 1, "released": None, "expected": {}}
    sources = [Source(data=str(number)) for number in range(len(parts))]
    return curate(Curation.model_validate({"name": name, "sources": sources, **facts}), lambda data: parts[int(data)])


@pytest.mark.parametrize("output", ["mine", ".", "deeper/mine", f"{ODD}/mine", "../beside"])
def test_a_curated_manifests_images_lie_where_its_sources_did(tmp_path: Path, output: str) -> None:
    data = tmp_path / "data"
    roots = {"met": data / ODD / "images", "sop": data, "gldv2": tmp_path / "other disk"}
    for root in roots.values():
        root.mkdir(parents=True, exist_ok=True)
    curated = drawn(*(data_set(source, root) for source, root in roots.items()))
    folder = data / output
    write_curated(curated, folder, data)
    assert resolve_data(str(folder), data).roots == roots


@pytest.mark.parametrize("output", [".", "mine"])
def test_a_folder_beside_a_curated_manifest_that_is_called_as_a_source_is_not_taken_for_it(
    tmp_path: Path, output: str
) -> None:
    root = tmp_path / "gldv2" / "images"  # as the catalogue has it
    root.mkdir(parents=True)
    (tmp_path / output / "gldv2").mkdir(parents=True, exist_ok=True)
    curated = drawn(data_set("gldv2", root), data_set("sop", tmp_path / "sop"))
    write_curated(curated, tmp_path / output, tmp_path)
    assert resolve_data(str(tmp_path / output), tmp_path).roots["gldv2"] == root


def test_a_data_root_that_is_moved_takes_its_training_sets_with_it(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    write_curated(drawn(data_set("met", before / "art" / "met")), before / "mine", before)
    before.rename(after)
    assert resolve_data("mine", after).roots == {"met": after / "art" / "met"}


def test_a_training_set_drawn_from_a_training_set_keeps_its_labels_and_folders(tmp_path: Path) -> None:
    curated = drawn(data_set("met", tmp_path / "art"), data_set("sop", tmp_path / "shop"))
    write_curated(curated, tmp_path / "first", tmp_path)
    again = drawn(resolve_data("first", tmp_path))
    write_curated(again, tmp_path / "second", tmp_path)
    found = resolve_data("second", tmp_path)
    assert found.digest == curated.manifest.digest
    assert found.roots == curated.manifest.roots


KILLED = """
import os, signal, sys
from pathlib import Path
from probe.data.curated import write_curated
from tests.data.test_curated_sets_are_found_where_they_were_drawn import second
rename, renames = Path.replace, 0
def replace(path, target):
    global renames
    if renames == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    renames += 1
    return rename(path, target)
Path.replace = replace
root = Path(sys.argv[1])
write_curated(second(root), root / "mine", root, overwrite=True)
"""


def first(root: Path) -> Curated:
    return drawn(data_set("met", root / "art" / "met"), data_set("sop", root / "shop"))


def second(root: Path) -> Curated:
    return drawn(data_set("sop", root / "moved", classes=2))


@pytest.mark.parametrize("renames", [1, slow(0), slow(2)])
def test_a_killed_overwrite_never_joins_one_training_set_with_the_folders_of_another(
    tmp_path: Path, renames: int
) -> None:
    before, after = first(tmp_path), second(tmp_path)
    write_curated(before, tmp_path / "mine", tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(renames)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == (0 if renames == 2 else -signal.SIGKILL)
    try:
        found = resolve_data("mine", tmp_path)
    except UsageError:
        return  # it says that it cannot be trusted
    states = [(each.manifest.digest, each.manifest.roots) for each in (before, after)]
    assert (found.digest, found.roots) in states


def test_two_data_sets_of_one_source_that_number_their_classes_apart_do_not_share_classes(tmp_path: Path) -> None:
    """UnED's SOP and Stanford Online Products are lists of one source; class 0 of one is not class 0 of the other."""
    uned, sop = data_set("sop", tmp_path), data_set("sop", tmp_path)
    sop = Manifest(sop.frame.with_columns(image="b/" + pl.col("image")), sop.roots, sop.where)
    try:
        curated = drawn(uned, sop)
    except UsageError:
        return
    assert curated.report.classes == 6
