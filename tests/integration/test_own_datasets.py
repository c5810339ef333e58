"""Data sets of the user's own, by `--datasets FILE`, through the commands; and a reader of their own format."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from feature_cache import FeatureStore
from tests.integration.commands import ROOT, Shell, photos

DATASETS = """
sources:
  shelves:
    folders: [photographs]
    holds: [class0]
datasets:
  corner-shop:
    title: Groceries of one shop
    domain: groceries
    source: shelves
    folders: [lists]
    tables:
      - {kind: delimited, file: train.csv, image: "{image}", label: "{label}", part: train}
      - {kind: delimited, file: val.csv, image: "{image}", label: "{label}", part: val}
      - {kind: KIND, file: test.txt, image: "{image}", label: "{label}", part: test}
    counts:
      - {split: train, role: train, images: 16, classes: 4, printed: its README}
"""
LINES = '''
"""`label: image image ...` on each line."""

from pathlib import Path

import polars as pl

from probe.data.readers import READERS, ROW, Reader

DECORATOR
class Lines(Reader):
    class Config(Reader.Config):
        KIND
        colon: str = ":"

    def columns(self, path: Path) -> pl.DataFrame:
        lines = [line.split(self.config.colon) for line in path.read_text().splitlines()]
        rows = [(label, image) for label, images in lines for image in images.split()]
        return pl.DataFrame(rows, ["label", "image"], orient="row").with_row_index(ROW, 1)
'''
RECIPE = """
title: Groceries
data: corner-shop
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 8}
  loss: {kind: arcface}
  training: {epochs: 1, batch: 8}
  seeds: [0]
rows:
  - {name: ArcFace}
"""


def lists(home: Path) -> None:
    """Eight classes of four images: four to train on, two for each of val and test."""
    photos(home / "data" / "photographs")
    folder = home / "data" / "lists"
    folder.mkdir()
    images = {f"class{number}": [f"class{number}/{i}.png" for i in range(4)] for number in range(8)}
    for name, numbers in (("train", range(4)), ("val", range(4, 6))):
        rows = [f"{image},class{number}" for number in numbers for image in images[f"class{number}"]]
        (folder / f"{name}.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    lines = [f"class{number}: {' '.join(images[f'class{number}'])}" for number in range(6, 8)]
    (folder / "test.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Images and lists; `mine.yaml`, whose reader is in `formats.py`; a recipe."""
    lists(tmp_path)
    (tmp_path / "mine.yaml").write_text(DATASETS.replace("KIND", "formats:Lines"))
    (tmp_path / "formats.py").write_text(LINES.replace("DECORATOR", "").replace("KIND", "kind: str"))
    (tmp_path / "groceries.yaml").write_text(RECIPE)
    return Shell(tmp_path, {"OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_data_commands_know_data_sets_of_the_users_own(shell: Shell):
    listed = shell("probe data list --datasets mine.yaml").stdout
    assert re.search(r"^corner-shop +complete +found +groceries +train 16 / 4", listed, re.MULTILINE)
    assert re.search(r"^sop ", listed, re.MULTILINE), "the bundled ones stay known"
    told = shell("probe data list corner-shop --datasets mine.yaml").stdout
    assert str(shell.home / "data" / "lists" / "train.csv") in told
    assert "corner-shop" not in shell("probe data list").stdout
    assert re.search(r"groceries +train +16 +4", shell("probe data stats corner-shop --datasets mine.yaml").stdout)
    done = shell("probe data check corner-shop --datasets mine.yaml --all --workers 0")
    assert "agrees with 16 images of 4 classes (its README)" in done.stdout
    assert "corner-shop is sound" in done.stdout


def test_training_sets_are_drawn_from_them(shell: Shell):
    (shell.home / "draw.yaml").write_text(
        "title: A draw\nseed: 0\nrows:\n  - {name: few, sources: [{data: corner-shop, classes: 2}]}\n"
    )
    done = shell("probe data curate draw.yaml --datasets mine.yaml")
    assert "--datasets mine.yaml" in done.stderr, "the next command knows them, too"
    assert (shell.home / "data" / "few" / "manifest.parquet").exists()
    assert "corner-shop (not a known data set)" in shell("probe data curate draw.yaml --overwrite", 2).stderr


@pytest.mark.slow
def test_they_are_extracted_fitted_evaluated_and_shown(shell: Shell):
    assert "did you mean" in shell("probe extract corner-shop --backbone descriptor", 2).stderr
    missing = shell("probe table groceries.yaml --datasets mine.yaml")
    assert re.search("probe extract corner-shop --backbone descriptor .*--datasets mine.yaml", missing.stdout)
    shell("probe extract corner-shop --backbone descriptor --datasets mine.yaml --workers 0")
    assert len(FeatureStore(shell.home / "features" / "shelves" / "descriptor.h5")) == 32
    shell("probe fit groceries.yaml --datasets mine.yaml")
    [run] = (shell.home / "out" / "runs").iterdir()
    assert "corner-shop" in shell(f"probe evaluate {run} --data corner-shop --datasets mine.yaml").stdout
    assert "ArcFace" in shell("probe table groceries.yaml --datasets mine.yaml").stdout
    shell("probe report groceries.yaml --datasets mine.yaml")
    shell("probe figures groceries.yaml --datasets mine.yaml")


def test_what_is_wrong_with_the_file_is_one_sentence(shell: Shell):
    file = shell.home / "wrong.yaml"
    for content, said in (
        ("datasets: {x: {title: X, tabels: []}}", "datasets.x: unknown key 'tabels'; did you mean 'tables'?"),
        ("datasets: {x: {title: X, parts: [spo]}}", "no data set 'spo'; did you mean 'sop'?"),
        ("datasets: 5", "it should be keys with values"),
        ("backbones: {}", "unknown key 'backbones'"),
        ("", "it should be keys with values"),
        (DATASETS.replace("KIND", "formats:Rows"), "formats:Rows"),
        (DATASETS.replace("KIND", "lines"), "lines"),
    ):
        file.write_text(content)
        error = shell("probe data list --datasets wrong.yaml", 2).stderr
        assert "--datasets wrong.yaml" in error, content
        assert said in error, (content, error)
        assert len(error.splitlines()) == 1, error
    assert "cannot be read" in shell("probe data list --datasets absent.yaml", 2).stderr


def test_their_rows_may_name_and_replace_the_bundled_ones(shell: Shell):
    (shell.home / "more.yaml").write_text(
        "datasets:\n"
        "  sop: {title: My copy, source: sop, domain: sop, tables:"
        " [{kind: tree, file: ., image: '{path}', label: '{path}', part: train}]}\n"
        "  two: {title: Two, parts: [sop, cars196]}\n"
    )
    lines = shell("probe data list --datasets more.yaml").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["sop", "two"]
    assert sum(line.startswith("sop ") for line in lines) == 1
    assert "My copy" in lines[1]


@pytest.mark.slow
def test_a_new_reader_is_one_new_file_in_the_package(tmp_path: Path):
    lists(tmp_path)
    for package in ("probe", "feature_cache"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    registered = LINES.replace("DECORATOR", "\n@READERS.register").replace("KIND", 'kind: Literal["lines"] = "lines"')
    code = registered.replace("from pathlib", "from typing import Literal\nfrom pathlib")
    (tmp_path / "probe" / "data" / "readers" / "lines.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(DATASETS.replace("KIND", "lines"))
    words = ["data", "stats", "corner-shop", "--datasets", "mine.yaml", "--data-root", "data"]
    code = f"import probe; print(probe.__file__); from probe.cli import app; app({words!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "probe")), "the copy, not the installed package"
    assert re.search(r"groceries +test +8 +2", done.stdout)
