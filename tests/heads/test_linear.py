import math

import numpy as np
import pytest
import torch

from probe.heads.linear import DropoutLinear


def head(seed: int = 0, in_dim: int = 576, dim: int = 64, dropout: float = 0.2) -> DropoutLinear:
    return DropoutLinear(in_dim, dim, dropout, torch.Generator().manual_seed(seed))


def test_weight_and_bias_start_uniform_within_one_over_the_root_of_the_input_dimension() -> None:
    layer = head()
    bound = 1 / math.sqrt(576)
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert values.abs().max() <= bound
        assert values.min() < -0.9 * bound
        assert values.max() > 0.9 * bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_in_eval_it_is_a_linear_map_with_bias(features: torch.Tensor) -> None:
    layer = head(in_dim=24, dim=7).eval()
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    rows = features.numpy()[:20]
    expected = [[sum(w * x for w, x in zip(weight[j], row, strict=True)) + bias[j] for j in range(7)] for row in rows]
    np.testing.assert_allclose(layer(features[:20]).detach(), expected, rtol=1e-4, atol=1e-4)


def test_dropout_is_off_in_eval_and_draws_nothing(features: torch.Tensor) -> None:
    layer = head(in_dim=24).eval()
    before = layer.generator.get_state()
    assert torch.equal(layer(features), layer(features))
    assert torch.equal(layer.generator.get_state(), before)


def test_dropout_zeroes_its_share_of_the_input_and_scales_the_rest() -> None:
    layer = head(in_dim=200, dim=200)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(200))
        layer.bias.zero_()
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
        return [layer.weight, layer.bias, layer(features), layer(features)]

    first = run(3)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, run(3), strict=True))
    assert not torch.equal(first[0], run(4)[0])
    assert not torch.equal(first[2], first[3]), "each step draws a new mask"


def test_the_global_generator_is_left_alone(features: torch.Tensor) -> None:
    before = torch.get_rng_state()
    head(in_dim=24).train()(features)
    assert torch.equal(torch.get_rng_state(), before)
