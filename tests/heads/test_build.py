import re
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from probe import heads
from probe.errors import UsageError
from probe.heads import HEADS, build_head, load_head, save_head
from probe.heads.initialization import lecun_normal, xavier_uniform
from probe.heads.linear import LinearHead
from probe.heads.random_projection import DISTRIBUTIONS
from tests.heads.kinds import configured, fitted

CPU = torch.device("cpu")
CONFIGS = [configured(kind) for kind in HEADS.kinds]


def build(config: heads.HeadConfig, seed: int = 0) -> nn.Module:
    return build_head(config, 24, torch.Generator().manual_seed(seed))


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def config(request: pytest.FixtureRequest) -> heads.HeadConfig:
    return request.param


def test_each_configuration_builds_its_head(config: heads.HeadConfig) -> None:
    assert type(build(config)) is HEADS.find(config.kind)


def test_embeddings_have_the_configured_dimension(config: heads.HeadConfig, features: torch.Tensor) -> None:
    expected = 24 if config.kind == "full-dimension" else 8
    assert build(config).eval()(features).shape == (500, expected)


def test_a_saved_head_gives_the_same_bits_when_loaded(
    config: heads.HeadConfig, features: torch.Tensor, tmp_path: Path
) -> None:
    head = fitted(config, features)
    save_head(head, tmp_path / "head.safetensors")
    loaded = load_head(config, tmp_path / "head.safetensors", 24, CPU)
    assert type(loaded) is type(head)
    assert not loaded.training
    assert torch.equal(loaded(features), head.eval()(features))


def test_linear_layers_and_normalisations_compute_what_a_head_computes(
    config: heads.HeadConfig, features: torch.Tensor
) -> None:
    head = fitted(config, features).eval()
    layers = head.layers()
    assert all(isinstance(layer, nn.Linear | heads.Normalize) for layer in layers)
    found = nn.Sequential(*layers)(features)
    torch.testing.assert_close(found, head(features), rtol=1e-4, atol=1e-4)


def test_saving_twice_gives_the_same_file(config: heads.HeadConfig, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_head(build(config), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_random_projection_is_one_draw_a_seed_without_dropout(features: torch.Tensor) -> None:
    head = build(heads.RandomProjection.Config(dim=8)).train()
    assert torch.equal(head(features), head(features))
    assert torch.equal(head(features), build(heads.RandomProjection.Config(dim=8))(features))
    assert not torch.equal(head(features), build(heads.RandomProjection.Config(dim=8), seed=1)(features))


@pytest.mark.parametrize("distribution", ["uniform", "gaussian", "orthogonal"])
def test_a_random_projection_has_the_configured_distribution_and_bias(distribution: str) -> None:
    plain = build(heads.RandomProjection.Config.model_validate({"dim": 8, "distribution": distribution, "bias": False}))
    assert plain.state_dict().keys() == {"weight"}
    assert torch.equal(
        plain.state_dict()["weight"], DISTRIBUTIONS[distribution](24, 8, torch.Generator().manual_seed(0))
    )
    biased = build(heads.RandomProjection.Config.model_validate({"dim": 8, "distribution": distribution}))
    assert torch.equal(biased.state_dict()["weight"], plain.state_dict()["weight"])
    assert 0 < biased.state_dict()["bias"].abs().max() <= 24**-0.5


@pytest.mark.parametrize(
    "config", [heads.L2LinearL2.Config(dim=8), heads.LinearL2.Config(dim=8)], ids=lambda config: config.kind
)
def test_the_bias_of_uneds_and_iliass_head_starts_at_zero(config: heads.HeadConfig) -> None:
    head = build(config)
    assert torch.equal(head.state_dict()["bias"], torch.zeros(8))
    initial = lecun_normal if config.kind == "l2-linear-l2" else xavier_uniform
    assert torch.equal(head.state_dict()["weight"], initial(24, 8, torch.Generator().manual_seed(0)))


def test_a_reduction_to_more_dimensions_than_there_are_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"dim \(64\) is above hidden \(32\)"):
        heads.BatchNormLinear.Config(hidden=32)


def test_a_head_of_another_configuration_is_not_loaded(tmp_path: Path) -> None:
    save_head(build(heads.Linear.Config(dim=8)), tmp_path / "head.safetensors")
    with pytest.raises(UsageError, match="is not the head of this run"):
        load_head(heads.BatchNormLinear.Config(dim=8, hidden=16), tmp_path / "head.safetensors", 24, CPU)


def test_a_linear_head_has_the_configured_dropout(features: torch.Tensor) -> None:
    head = build(heads.Linear.Config(dim=8, dropout=0.3))
    assert isinstance(head, LinearHead)
    assert head.dropout == 0.3


def test_the_page_shows_every_head_with_all_its_options_and_their_defaults() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "heads.md").read_text()
    order = [page.index(f"`{{kind: {kind}") for kind in HEADS.kinds]
    defaults = [head.Config.model_validate({}) for _, head in sorted(zip(order, HEADS, strict=True))]
    shown = [yaml.safe_load(text) for text in re.findall(r"^\| `(\{kind: .*?\})`", page, flags=re.MULTILINE)]
    assert shown == [configuration.model_dump() for configuration in defaults]
