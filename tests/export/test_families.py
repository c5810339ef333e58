"""Every family of the catalogue exports: small models with random weights, loaded in each way to the same vectors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from probe.backbones import Backbone, BackboneRow, adapter, restore_encoder
from probe.embed import Embedder
from probe.export import Format, Formats
from probe.export.folder import write_verified
from probe.extract import Selection
from probe.heads import Linear
from tests.conftest import slow

CPU = torch.device("cpu")
DIM = 16


@dataclass(frozen=True)
class Family:
    """A small model of it."""

    library: str
    model: str
    px: int = 32
    options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    std: float = 0.1
    """Of its random weights."""

    @property
    def row(self) -> BackboneRow:
        return BackboneRow(library=self.library, model=self.model, px=self.px, options=self.options, **self.fields)


SMALL = {"depth": 2, "embed_dim": 64, "num_heads": 2}
TOWER = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16}
TRUNK = {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 32}
CLIPA = TOWER | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
FASTVIT = {"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "timm_proj": "", "image_size": 64}
VITAMIN = {"timm_model_name": "vitamin_small_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
STAGES = {"depths": [1, 1, 1, 1], "dims": [16, 24, 32, 48]}
SWIN = {"depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "embed_dim": 24, "window_size": 2}
DINOV2 = {"img_size": 28, "init_values": 1.0, **SMALL}  # layer scale
DINOV3 = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
PROJECTED = {"feature": "pre-projection", "resize": "squash"}
FAMILIES = {
    "CLIP ViT": Family("open_clip", "ViT-B-32", 32, {"embed_dim": 24, "vision_cfg": TOWER}, PROJECTED),
    "CLIP projected": Family(
        "open_clip", "ViT-B-32-quickgelu", 32, {"embed_dim": 24, "vision_cfg": TOWER}, {"feature": "projected"}
    ),
    "CLIP ConvNeXt": Family("open_clip", "convnext_base", 32, {"embed_dim": 24, "vision_cfg": TRUNK}, PROJECTED),
    "EVA": Family("timm", "eva02_tiny_patch14_224", 28, {"img_size": 28, **SMALL}),
    "SigLIP": Family("timm", "vit_base_patch16_siglip_224", 32, {"img_size": 32, **SMALL}, {"resize": "squash"}),
    "DINOv2": Family("timm", "vit_small_patch14_dinov2", 28, DINOV2, {"crop_pct": 0.875}),
    "DINOv2 with registers": Family("timm", "vit_small_patch14_reg4_dinov2", 28, DINOV2),
    "DINOv3": Family("timm", "vit_small_patch16_dinov3", 32, {"img_size": 32, **SMALL}, {"resampling": "tensor"}),
    "DINOv3 of transformers": Family(
        "transformers", "facebook/dinov3", 32, {"model_type": "dinov3_vit", "num_register_tokens": 2, **DINOV3}
    ),
    "SAM": Family(
        "timm", "samvit_base_patch16", 64, {"img_size": 64, "global_pool": "avg", **SMALL}, {"feature": "pre-neck"}
    ),
    "CLIPA": Family("open_clip", "ViT-L-14-CLIPA-336", 32, {"embed_dim": 24, "vision_cfg": CLIPA}, PROJECTED),
    "MobileCLIP 2": Family(
        "open_clip", "MobileCLIP2-S0", 64, {"embed_dim": 24, "vision_cfg": FASTVIT}, PROJECTED, std=0.15
    ),
    "ViTamin": Family("open_clip", "ViTamin-S", 224, {"embed_dim": 24, "vision_cfg": VITAMIN}, PROJECTED),
    "EVA-CLIP": Family(
        "timm", "eva02_base_patch16_clip_224", 32, {"img_size": 32, **SMALL}, {"feature": "pre-projection"}
    ),
    "Perception Encoder": Family("timm", "vit_pe_core_base_patch16_224", 32, {"img_size": 32, **SMALL}),
    "Perception Encoder, spatial": Family("timm", "vit_pe_spatial_tiny_patch16_512", 32, {"img_size": 32, **SMALL}),
    "AIMv2": Family("timm", "aimv2_large_patch14_224", 28, {"img_size": 28, **SMALL}),
    "TIPSv2": Family("timm", "vit_base_patch14_reg1_tipsv2", 28, {"img_size": 28, **SMALL}),
    "DINOv3 ConvNeXt": Family("timm", "convnext_tiny", 64, STAGES),
    "ConvNeXt V2": Family("timm", "convnextv2_atto", 64, STAGES),
    "Swin V2": Family("timm", "swinv2_tiny_window8_256", 64, {"img_size": 64, **SWIN}),
    "BEiT v2": Family("timm", "beitv2_base_patch16_224", 32, {"img_size": 32, **SMALL}),
    "MAE, DINO, AugReg": Family("timm", "vit_base_patch16_224", 32, {"img_size": 32, **SMALL}),
    "SAM, flattened": Family("timm", "samvit_base_patch16", 64, {"img_size": 64, **SMALL}, {"feature": "flattened"}),
    "ResNet, GeM": Family("timm", "test_resnet", 32, {}, {"feature": "gem"}),
    "ResNet, flattened": Family("timm", "test_resnet", 32, {}, {"feature": "flattened"}),
}
QUICK = ("CLIP ViT", "EVA", "DINOv2", "SAM")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(60, 81), (97, 64), (70, 70)]
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def require_different(vectors: np.ndarray) -> None:
    assert (vectors[0] @ vectors[1:].T).max() < 0.9999  # or the weights would tell nothing


def embedder_of(family: Family, folder: Path) -> Embedder:
    """With random weights that are not small, so that its vectors depend on all of them and on the image."""
    torch.manual_seed(3)
    module = adapter(family.library).build(family.row, None)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=family.std)
    weights = folder / "weights.safetensors"
    save_file({"any": torch.zeros(1)}, weights)
    encoder = restore_encoder(family.row, module.state_dict(), weights, CPU)
    head = Linear(encoder.dim, DIM, torch.Generator().manual_seed(0))
    backbone = Backbone("small", family.row, weights=weights)
    return Embedder([backbone], [encoder], Selection(backbone="small"), head, "cosine", CPU, "key")


IN_ALL_FORMATS = (
    *("CLIP ViT", "CLIP ConvNeXt", "EVA", "SigLIP", "DINOv2", "DINOv2 with registers", "DINOv3", "SAM", "ResNet, GeM"),
    *("DINOv3 of transformers", "Perception Encoder"),
)
"""One of each kind of network; those of the others take minutes."""


@pytest.mark.parametrize("name", [*QUICK, *(slow(name) for name in FAMILIES if name not in IN_ALL_FORMATS)])
def test_a_family_is_loaded_to_its_own_vectors(name: str, images: list[Image.Image], tmp_path: Path):
    embedder = embedder_of(FAMILIES[name], tmp_path)
    require_different(embedder.encode(images))
    (tmp_path / "folder").mkdir()
    _, verified = write_verified(tmp_path / "folder", embedder, "key", images)
    assert [each.cosine > 0.99999 for each in verified] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ALL_FORMATS)
def test_one_of_each_kind_is_run_by_onnxruntime_and_torch_export_too(
    name: str, images: list[Image.Image], tmp_path: Path
):
    pytest.importorskip("onnxruntime")
    formats = Formats({Format.onnx, Format.pt2})
    embedder = embedder_of(FAMILIES[name], tmp_path)
    require_different(embedder.encode(images))
    (tmp_path / "folder").mkdir()
    _, verified = write_verified(tmp_path / "folder", embedder, "key", images, formats)
    assert [each.cosine > 0.9999 for each in verified] == [True] * 5
