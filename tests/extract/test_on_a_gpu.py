"""Extraction on a GPU: nearly the features of the CPU, in the same order."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from feature_cache import FeatureStore
from probe.backbones.catalogue import Backbone
from probe.backbones.encoder import load_encoder
from probe.data.folder import image_folder
from probe.extract.local import extract
from probe.extract.plan import Settings, plan_extraction
from probe.workspace import Workspace

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.999)])
def test_features_are_nearly_those_of_the_cpu(
    precision: str, least: float, backbone: Backbone, photos: Callable[..., Path], tmp_path: Path, cuda: torch.device
) -> None:
    manifest = image_folder(photos("shoes", 12))
    features = []
    for name, device, chosen in (("cpu", torch.device("cpu"), "fp32"), ("gpu", cuda, precision)):
        workspace = Workspace(tmp_path / "data", tmp_path / name, tmp_path / "out")
        spec = backbone.spec("float32", chosen)
        (task,) = plan_extraction(manifest, backbone.name, spec, workspace)
        settings = Settings(batch=4, workers=0, dtype="float32", pinned=device.type == "cuda")
        assert not extract(task, load_encoder(backbone, device, chosen), spec, settings).failures
        store = FeatureStore(task.store)
        features.append(torch.from_numpy(store.load(sorted(store.ids))))
    assert F.cosine_similarity(*features, dim=1).min() > least
