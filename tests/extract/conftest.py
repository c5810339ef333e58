"""A tiny backbone with random local weights, and folders of random photos."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from probe.backbones.catalogue import Backbone, find_backbone
from probe.backbones.encoder import Encoder, load_encoder
from probe.workspace import Workspace


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """For all tests of this folder."""


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("backbone")
    row = {"library": "timm", "model": "test_vit.r160_in1k", "px": 32, "options": {"img_size": 32}}
    (folder / "catalogue.yaml").write_text(json.dumps({"backbones": {"tiny": row}}))
    torch.manual_seed(3)
    save_file(timm.create_model(row["model"], num_classes=0, img_size=32).state_dict(), folder / "tiny.safetensors")
    return find_backbone("tiny", folder / "catalogue.yaml", folder / "tiny.safetensors")


@pytest.fixture(scope="session")
def encoder(backbone: Backbone) -> Encoder:
    return load_encoder(backbone, torch.device("cpu"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data", tmp_path / "cache", tmp_path / "out")


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """`photos("shoes", 12, seed=1)`: a folder of that name with random images of random sizes in four classes."""

    def make(name: str, count: int, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        for i in range(count):
            path = tmp_path / name / f"class {i % 4}" / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = rng.integers(20, 80, 2)
            Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        return tmp_path / name

    return make
