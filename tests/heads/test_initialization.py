import math
import statistics

import pytest
import torch

from probe.errors import UsageError
from probe.heads import initialization
from probe.heads.initialization import gaussian, lecun_normal, orthogonal, uniform, uniform_bias, xavier_uniform

ALL = [uniform, xavier_uniform, lecun_normal, gaussian, orthogonal]
D, DIM = 576, 64


def draw(initial, seed: int = 0) -> torch.Tensor:
    return initial(D, DIM, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("initial", "bound"),
    [(uniform, 1 / math.sqrt(D)), (uniform_bias, 1 / math.sqrt(D)), (xavier_uniform, math.sqrt(6 / (D + DIM)))],
)
def test_uniform_values_fill_their_interval(initial, bound: float) -> None:
    values = draw(initial)
    assert values.abs().max() <= bound
    assert values.min() < -0.9 * bound
    assert values.max() > 0.9 * bound
    if values.ndim == 2:
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_the_standard_deviation_of_a_normal_variable_cut_off_at_two_is_the_closed_form() -> None:
    normal = statistics.NormalDist()
    kept = normal.cdf(2) - normal.cdf(-2)
    assert math.sqrt(1 - 4 * normal.pdf(2) / kept) == pytest.approx(initialization.TRUNCATED_STD, abs=1e-15)


def test_lecun_normal_is_cut_off_at_two_deviations_and_has_variance_one_over_d() -> None:
    weight = draw(lecun_normal)
    limit = 2 / math.sqrt(D) / initialization.TRUNCATED_STD
    assert 0.99 * limit < weight.abs().max() <= limit * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(D), rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=4 / math.sqrt(D * D * DIM))
    share = (weight.abs() < limit / 2).double().mean().item()
    normal = statistics.NormalDist()
    assert share == pytest.approx((2 * normal.cdf(1) - 1) / (2 * normal.cdf(2) - 1), abs=0.01)


def test_gaussian_values_have_variance_one_over_d() -> None:
    weight = draw(gaussian)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(D), rel=0.01)
    assert (weight.abs() > 3 / math.sqrt(D)).any(), "it has tails"


@pytest.mark.parametrize("dim", [1, 8, 24])
def test_orthogonal_rows_are_orthonormal(dim: int) -> None:
    weight = orthogonal(24, dim, torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(weight @ weight.T, torch.eye(dim).double(), rtol=0, atol=1e-6)


def test_orthogonal_directions_have_no_preferred_sign() -> None:
    signs = [orthogonal(6, 2, torch.Generator().manual_seed(seed)).sign() for seed in range(400)]
    assert torch.stack(signs).mean(0).abs().max() < 0.25  # 5 standard deviations


def test_more_orthogonal_directions_than_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"25 orthogonal directions: the features have only 24 .*lower head\.dim"):
        orthogonal(24, 25, torch.Generator())


@pytest.mark.parametrize("initial", [*ALL, uniform_bias])
def test_the_generator_decides_and_the_global_one_is_left_alone(initial) -> None:
    before = torch.get_rng_state()
    assert torch.equal(draw(initial), draw(initial))
    assert not torch.equal(draw(initial), draw(initial, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
