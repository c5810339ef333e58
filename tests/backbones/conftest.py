"""No network, and a hub cache of each test's own."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

Hub = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and an empty cache: huggingface_hub reads both variables when it is imported."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """`hub("org/name")`: the folder of that repository's files in the local cache, as a download would have left it."""

    def snapshot(repository: str) -> Path:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
        return folder / "snapshots" / ("0" * 40)

    return snapshot


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Wide, upright, square; scaled to 40 or 32, the wide one is 27 or 15 longer, which libraries halve in two ways."""
    rng = np.random.default_rng(0)
    paths = []
    for i, (width, height) in enumerate(((95, 64), (64, 80), (64, 64))):
        blobs = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((width, height))
        paths.append(tmp_path / f"image{i}.png")
        blobs.save(paths[-1])
    return paths
