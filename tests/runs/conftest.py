from pathlib import Path

import pytest

from tests.fit.world import World, small_manifest


@pytest.fixture
def world(tmp_path: Path) -> World:
    """No stores yet."""
    return World(tmp_path, small_manifest())
