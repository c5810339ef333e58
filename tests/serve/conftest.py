"""An index of a few photographs by the built-in descriptor, which needs no weights, and an application over it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from probe import Index
from probe.backbones import find_backbone
from probe.data import Manifest, read_manifest
from probe.extract import Settings, extract_sources
from probe.serve import Limits, create_app
from probe.workspace import Workspace
from tests.conftest import Shared
from tests.embed.conftest import World
from tests.embed.conftest import run as run
from tests.embed.conftest import world as world

HOSTILE = "<img src=x onerror=document.title='broken'>"  # the name of a class


def copy_photos(folder: Path, home: Path, frame: pl.DataFrame) -> Path:
    """Photographs of the test split, in a folder for each class; the last class has a name that is no markup."""
    labels = frame["label"].unique(maintain_order=True).to_list()
    for image, label in frame.select("image", "label").iter_rows():
        place = home / "photos" / (HOSTILE if label == labels[-1] else label) / Path(image).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / image, place)
    return home / "photos"


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> Path:
    """The index, with `photos` beside it."""
    whole = read_manifest(shared("data/pocket/manifest.csv"))
    home = tmp_path_factory.mktemp("serve")
    test = whole.frame.filter(pl.col("domain") == "food_grocery", pl.col("split") == "test")
    few = test.group_by("label", maintain_order=True).head(3).head(12)
    manifest = Manifest(few, whole.roots, name="pocket")
    workspace = Workspace(home / "data", home / "features", home / "out")
    extract_sources([manifest], find_backbone("descriptor"), workspace, Settings(workers=0), "cpu")
    made = World(manifest, workspace, home).run(backbone="descriptor", head={"kind": "random-projection", "dim": 16})
    index = Index.create(home / "photos.index", made.path, device="cpu")
    index.add(copy_photos(whole.roots["pocket"], home, few))
    return home / "photos.index"


@pytest.fixture
def index(described: Path) -> Index:
    return Index.open(described, device="cpu")


@pytest.fixture
def limits() -> Limits:
    return Limits(upload_bytes=200_000, pixels=1_000_000, seconds=20, threads=2)


@pytest.fixture
def client(index: Index, limits: Limits) -> Iterator[TestClient]:
    with TestClient(create_app(index, limits), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client
