from pathlib import Path

import pytest
import torch
from torch import nn

from probe.heads import config as heads
from probe.heads.build import build_head, load_head, save_head
from probe.heads.linear import DropoutLinear
from probe.heads.pca import PCAWhitening
from probe.heads.pooling import AveragePooling, FullDimension

CPU = torch.device("cpu")
CONFIGS = [
    heads.FullDimension(),
    heads.AveragePooling(dim=8),
    heads.RandomProjection(dim=8),
    heads.PCAWhitening(dim=8),
    heads.Linear(dim=8, dropout=0.3),
]


def build(config: heads.HeadConfig, seed: int = 0) -> nn.Module:
    return build_head(config, 24, torch.Generator().manual_seed(seed))


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def config(request: pytest.FixtureRequest) -> heads.HeadConfig:
    return request.param


def test_each_configuration_builds_its_head(config: heads.HeadConfig) -> None:
    kinds = [FullDimension, AveragePooling, DropoutLinear, PCAWhitening, DropoutLinear]
    assert isinstance(build(config), kinds[CONFIGS.index(config)])


def test_embeddings_have_the_configured_dimension(config: heads.HeadConfig, features: torch.Tensor) -> None:
    expected = 24 if config.kind == "full-dimension" else 8
    assert build(config).eval()(features).shape == (500, expected)


def test_a_saved_head_gives_the_same_bits_when_loaded(
    config: heads.HeadConfig, features: torch.Tensor, tmp_path: Path
) -> None:
    head = PCAWhitening.fit(features, 8) if config.kind == "pca-whitening" else build(config)
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(config, tmp_path / "head.safetensors", 24, CPU)
    assert type(loaded) is type(head)
    assert not loaded.training
    assert torch.equal(loaded(features), head.eval()(features))


def test_saving_twice_gives_the_same_file(config: heads.HeadConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_head(build(config), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_random_projection_is_one_draw_a_seed_without_dropout(features: torch.Tensor) -> None:
    head = build(heads.RandomProjection(dim=8)).train()
    assert torch.equal(head(features), head(features))
    assert torch.equal(head(features), build(heads.RandomProjection(dim=8))(features))
    assert not torch.equal(head(features), build(heads.RandomProjection(dim=8), seed=1)(features))


def test_a_linear_head_has_the_configured_dropout(features: torch.Tensor) -> None:
    head = build(heads.Linear(dim=8, dropout=0.3))
    assert isinstance(head, DropoutLinear)
    assert head.dropout == 0.3
