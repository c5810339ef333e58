"""Really pretrained weights through the timm adapter, from a user's catalogue; skipped where they are not at hand."""

from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file

from probe.backbones.catalogue import find_backbone
from probe.backbones.encoder import load_encoder
from tests.backbones.features import features_of, normalised
from tests.conftest import Shared

CPU = torch.device("cpu")
MODELS = {
    "mobilenetv1_100.tf_qat_in1k_nohead": 1024,
    "mobilenetv2_100.tf_qat_in1k": 1280,
    "mobilenetv2_100.inat_bird": 1280,
    "mobilenetv2_100.inat_insect": 1280,
}


@pytest.mark.parametrize("name", MODELS)
def test_real_weights_run_from_a_users_catalogue_with_padding_as_in_tensorflow(
    tmp_path: Path, images: list[Path], shared: Shared, name: str
) -> None:
    weights = shared(f"weights/{name}.safetensors")
    architecture = name.partition(".")[0]
    row = {"library": "timm", "model": architecture, "options": {"pad_type": "same"}, "px": 224, "dim": MODELS[name]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"backbones": {"mine": row | {"weights": weights.name}}}))
    encoder = load_encoder(find_backbone("mine", tmp_path / "own.yaml", weights), CPU)
    model = timm.create_model(architecture, num_classes=0, pad_type="same").eval()
    model.load_state_dict({key: v for key, v in load_file(weights).items() if not key.startswith("classifier.")})
    with torch.inference_mode():
        expected = model(normalised(encoder.prepare, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), images))
    features = features_of(encoder, images)
    assert features.shape == (3, MODELS[name])
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
