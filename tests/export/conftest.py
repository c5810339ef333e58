"""The small runs of tests/embed, for exports."""

import json
import shutil
from pathlib import Path

import pytest

from probe.runs import RunDirectory, seal
from tests.embed.conftest import run, world

__all__ = ["run", "world"]


@pytest.fixture
def run_of_gone_images(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """Whose images are not where they lay."""
    moved = shutil.copytree(run.path, tmp_path / "runs" / run.name)
    environment = json.loads((moved / "environment.json").read_text()) | {"images": {"pocket": "/gone"}}
    (moved / "environment.json").write_text(json.dumps(environment))
    seal(moved)
    return RunDirectory(moved)
