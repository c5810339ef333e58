import math

import numpy as np
import pytest
import torch

from probe import heads
from probe.heads import LinearHead, build_head


def head(seed: int = 0, in_dim: int = 576, dim: int = 64, dropout: float = 0.2) -> LinearHead:
    built = build_head(heads.Linear.Config(dim=dim, dropout=dropout), in_dim, torch.Generator().manual_seed(seed))
    assert isinstance(built, LinearHead)
    return built


def by_hand(layer: LinearHead, rows: np.ndarray) -> np.ndarray:
    """x Wᵀ + b, one product at a time."""
    assert layer.bias is not None
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return np.array([[sum(w * x for w, x in zip(line, row, strict=True)) for line in weight] for row in rows]) + bias


def unit(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(sum(value**2 for value in row)) for row in rows])


def test_in_eval_it_is_a_linear_map_with_bias(features: torch.Tensor) -> None:
    layer = head(in_dim=24, dim=7).eval()
    expected = by_hand(layer, features.double().numpy()[:20])
    np.testing.assert_allclose(layer(features[:20]).detach(), expected, rtol=1e-4, atol=1e-4)


def test_uneds_head_normalises_before_and_after_its_linear_map(features: torch.Tensor) -> None:
    layer = build_head(heads.L2LinearL2.Config(dim=7), 24, torch.Generator().manual_seed(0))
    assert isinstance(layer, LinearHead)
    torch.nn.init.normal_(layer.state_dict()["bias"], generator=torch.Generator().manual_seed(1))
    expected = unit(by_hand(layer, unit(features.double().numpy()[:20])))
    for mode in (layer.train(), layer.eval()):
        np.testing.assert_allclose(mode(features[:20]).detach(), expected, rtol=1e-4, atol=1e-5)


def test_iliass_head_normalises_before_and_after_its_linear_map(features: torch.Tensor) -> None:
    layer = build_head(heads.LinearL2.Config(dim=7), 24, torch.Generator().manual_seed(0))
    assert isinstance(layer, LinearHead)
    torch.nn.init.normal_(layer.state_dict()["bias"], generator=torch.Generator().manual_seed(1))
    expected = unit(by_hand(layer, unit(features.double().numpy()[:20])))
    np.testing.assert_allclose(layer(features[:20]).detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config", [heads.L2LinearL2.Config(dim=7), heads.LinearL2.Config(dim=7)], ids=lambda config: config.kind
)
def test_a_feature_of_zeros_has_a_finite_embedding_and_gradient(config: heads.HeadConfig) -> None:
    layer = build_head(config, 24, torch.Generator().manual_seed(0))
    embeddings = layer(torch.zeros(3, 24))
    embeddings.sum().backward()
    assert embeddings.isfinite().all()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_dropout_is_off_in_eval_and_draws_nothing(features: torch.Tensor) -> None:
    layer = head(in_dim=24).eval()
    before = layer.generator.get_state()
    assert torch.equal(layer(features), layer(features))
    assert torch.equal(layer.generator.get_state(), before)


def test_dropout_zeroes_its_share_of_the_input_and_scales_the_rest() -> None:
    layer = head(in_dim=200, dim=200)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(200))
        layer.state_dict()["bias"].zero_()
    out = layer.train()(torch.ones(1000, 200)).detach()
    assert sorted(out.unique().tolist()) == [0.0, 1.25]
    assert (out == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert not torch.equal(out[0], out[1])


def test_dropout_keeps_the_expectation(features: torch.Tensor) -> None:
    layer = head(in_dim=24)
    one = features[:1]
    mean = layer.train()(one.expand(20_000, -1)).mean(0)
    torch.testing.assert_close(mean, layer.eval()(one)[0], rtol=0, atol=0.08)


def test_without_dropout_training_mode_is_eval_mode(features: torch.Tensor) -> None:
    layer = head(in_dim=24, dropout=0.0)
    assert torch.equal(layer.train()(features), layer.eval()(features))


def test_the_same_seed_gives_the_same_bits_whatever_the_global_generator_does(features: torch.Tensor) -> None:
    def run(seed: int) -> list[torch.Tensor]:
        layer = head(seed, in_dim=24).train()
        torch.rand(5)
        return [*layer.parameters(), layer(features), layer(features)]

    first = run(3)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, run(3), strict=True))
    assert not torch.equal(first[0], run(4)[0])
    assert not torch.equal(first[2], first[3]), "each step draws a new mask"


def test_the_global_generator_is_left_alone(features: torch.Tensor) -> None:
    before = torch.get_rng_state()
    head(in_dim=24).train()(features)
    assert torch.equal(torch.get_rng_state(), before)
