"""The small runs of tests/embed, and an index by one of them."""

import shutil
from pathlib import Path

import pytest

from probe.index import Index
from probe.runs import RunDirectory
from tests.embed.conftest import World, run, world

__all__ = ["run", "world"]


@pytest.fixture(scope="session")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of the test split, in a folder for each class."""
    home = tmp_path_factory.mktemp("photographs") / "photos"
    for image, label in world.manifest.split("test").select("image", "label").iter_rows():
        place = home / label / Path(image).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / image, place)
    return home


@pytest.fixture(scope="session")
def indexed(run: RunDirectory, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the folder; only to be read."""
    path = tmp_path_factory.mktemp("index") / "photos.index"
    changes = Index.create(path, run.path, device="cpu").add(folder)
    images = [file for file in folder.rglob("*") if file.is_file()]
    assert (changes.added, changes.unchanged, changes.failures) == (len(images), 0, [])
    return path
