from pathlib import Path

import pytest

from tests.report.measured import Measured, measure
from tests.report.world import World, small_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return small_world(tmp_path)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Nobody changes it: what is written goes elsewhere, or under a name of its own."""
    return measure(tmp_path_factory.mktemp("measured"))
