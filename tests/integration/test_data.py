"""`probe data` on a small data root in published formats, as a user types it."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.data.published import PUBLISHED
from tests.integration.commands import Shell, photos

GROCERIES = "GroceryStoreDataset/dataset"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for the sake of a shared machine


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Grocery Store's lists, with images; SOP's lists, without."""
    data = tmp_path / "data"
    PUBLISHED["sop"].write(data)
    PUBLISHED["grocery-store"].write(data)
    photos(tmp_path / "photos")
    drawn = sorted((photos(tmp_path / "drawn", classes=9) / "class8").iterdir())  # which `photos` has not
    for (image, *_), file in zip(PUBLISHED["grocery-store"].rows, drawn, strict=False):
        path = data / GROCERIES / image
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, path)
    return Shell(tmp_path, ONE_THREAD)


@pytest.mark.slow
def test_list_says_what_is_here_and_tells_all_of_one(shell: Shell):
    lines = {line.split()[0]: line for line in shell("probe data list").stdout.splitlines() if line.strip()}
    assert re.search(r"sop +complete +- .*60,502 / 11,316.*cvgl\.stanford\.edu", lines["sop"])
    assert re.search(r"grocery-store +complete +found", lines["grocery-store"])
    assert re.search(r"met +- +- ", lines["met"])
    text = shell("probe data list sop").stdout
    assert str(shell.home / "data" / "sop" / "Ebay_train.txt") in text
    assert "looked for" in text
    assert "did you mean 'sop'?" in shell("probe data list spo", 2).stderr


@pytest.mark.slow
def test_check_exits_with_1_for_counts_and_images_and_names_them_in_a_file(shell: Shell):
    broken = shell.home / "data" / GROCERIES / PUBLISHED["grocery-store"].rows[0][0]
    broken.write_bytes(b"no image")
    done = shell("probe data check grocery-store sop --all --workers 0", 1)
    assert "DIFFERS from 2,640 images of 81 classes" in done.stdout
    assert "not one image is here" in done.stdout
    assert "images that cannot be decoded: 1" in done.stdout
    assert "grocery-store is not sound" in done.stdout
    findings = pl.read_csv(shell.home / "out" / "checks" / "grocery-store.csv")
    [image] = findings.filter(pl.col("problem") == "images that cannot be decoded")["image"]
    assert broken.match(image)


@pytest.mark.slow
def test_check_of_a_whole_folder_exits_with_0_and_misuse_with_2(shell: Shell):
    assert "photos is sound" in shell("probe data check photos --sample 5 --workers 0").stdout
    assert "leave one out" in shell("probe data check photos --sample 5 --all", 2).stderr


def test_stats_prints_the_papers_tables_and_counts_a_manifest(shell: Shell):
    assert re.search(r"MRT +never released +\(6\) +\(23k\) +\(267k\)", shell("probe data stats").stdout)
    assert re.search(r"photos +train +20 +5 +4 +4 +4", shell("probe data stats photos").stdout)


@pytest.mark.slow
def test_curate_writes_a_training_set_once_and_does_not_overwrite_another_draw(shell: Shell):
    recipe = shell.home / "mine.yaml"
    recipe.write_text("title: Mine\nseed: 1\nsources: [{data: photos, min: 2, cap: 3}, {data: grocery-store}]\n")
    done = shell(f"probe data curate {recipe}")
    assert re.search(r"photos +split train +20 +5", done.stdout)
    assert re.search(r"cap 3 +15 +5", done.stdout)
    assert "next: probe extract mine --backbone" in done.stderr
    manifest = pl.read_parquet(shell.home / "data" / "mine" / "manifest.parquet")
    assert dict(manifest["source"].value_counts().iter_rows()) == {"photos": 15, "grocery-store": 1}
    file = shell.home / "data" / "mine" / "manifest.parquet"
    before = file.stat().st_mtime_ns
    assert "already, drawn in the same way" in shell(f"probe data curate {recipe}").stderr
    recipe.write_text(recipe.read_text().replace("cap: 3", "cap: 2"))
    assert "exists already, and is another draw" in shell(f"probe data curate {recipe}", 2).stderr
    assert file.stat().st_mtime_ns == before


def test_curate_names_all_that_is_missing_and_where_to_get_it(shell: Shell):
    text = shell("probe data curate recipes/curation/m4d-35k.yaml", 2).stderr
    assert "products-10k (https://products-10k.github.io)" in text
    assert "stanford-cars-refined (https://github.com/morrisfl/stanford_cars_refined)" in text
    assert "Traceback" not in text
