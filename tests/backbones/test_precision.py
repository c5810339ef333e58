from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import probe.precision
from probe.backbones.catalogue import Backbone, BackboneRow, bundled_rows
from probe.backbones.encoder import load_encoder
from probe.backbones.module import ModuleEncoder
from probe.backbones.timm import build
from probe.precision import Precision, choose_precision

CPU = torch.device("cpu")
MODELS = {
    "test_vit": {},
    "test_convnext": {},
    "test_efficientnet": {},
    "vit_tiny_patch16_dinov3_qkvb": {"global_pool": "token"},  # rotary position embedding
}


def pixels(px: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, px, px, 3), np.uint8))


def row_with(model: str, **fields) -> BackboneRow:
    return BackboneRow(library="timm", model=model, px=160, **fields)


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] * ("dinov3" in name)) for name in MODELS]
)
def test_bf16_features_are_float32_and_nearly_those_of_fp32(model: str) -> None:
    row = row_with(model, options=MODELS[model])
    features = {}
    for precision in (Precision.fp32, Precision.bf16):
        torch.manual_seed(0)
        encoder = ModuleEncoder(build(row, None), row, CPU, precision)
        assert {parameter.dtype for parameter in encoder.module.parameters()} == {getattr(torch, precision.dtype_name)}
        features[precision] = encoder(pixels(row.px))
        assert features[precision].dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(features[Precision.fp32], features[Precision.bf16])
    assert cosine.min() > 0.999


def test_dropout_and_drop_path_are_off(tmp_path: Path) -> None:
    rates = {"drop_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5}
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "weights.safetensors")
    rows = [row_with("test_vit", options=options) for options in ({}, rates)]
    backbones = [Backbone("tiny", row, weights=tmp_path / "weights.safetensors") for row in rows]
    plain, dropping = (load_encoder(backbone, CPU)(pixels(160)) for backbone in backbones)
    torch.testing.assert_close(plain, dropping, rtol=0, atol=0)


def test_the_spec_names_the_precision_and_the_descriptors_never_changes(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    backbone = Backbone("tiny", row_with("test_vit"), weights=tmp_path / "weights.safetensors")
    assert [backbone.spec(precision=name)["precision"] for name in Precision] == ["float32", "bfloat16", "float16"]
    assert backbone.spec()["precision"] == "float32"
    descriptor = Backbone("descriptor", bundled_rows()["descriptor"])
    assert descriptor.spec(precision="bf16") == descriptor.spec()


@pytest.mark.parametrize(("unit", "expected"), [("amx_bf16", "bf16"), ("avx512_bf16", "bf16"), (None, "fp32")])
def test_auto_takes_bf16_where_the_cpu_has_a_unit_for_it(
    monkeypatch: pytest.MonkeyPatch, unit: str | None, expected: str
) -> None:
    monkeypatch.setattr(probe.precision, "_bf16_unit", lambda: unit)
    precision, reason = choose_precision("auto", CPU)
    assert precision == expected
    assert (unit or "no bfloat16") in reason


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_takes_half_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert choose_precision("auto", torch.device("cuda"))[0] == expected


def test_what_is_asked_for_is_taken() -> None:
    for name in ("fp32", "bf16", "fp16"):
        assert choose_precision(name, CPU) == (Precision(name), "asked for")
