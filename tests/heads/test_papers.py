"""Every head against its paper's formula in float64; what is known of it before it is built; its gradients."""

import numpy as np
import pytest
import torch

from probe.heads import HEADS, ClosedFormHead, Head, HeadConfig, TrainedHead, build_head
from tests.heads.kinds import IN_DIM, configured, fitted
from tests.heads.papers import FORMULAS, embedded

TRAINED = [kind for kind in HEADS.kinds if issubclass(HEADS.find(kind), TrainedHead)]


@pytest.fixture(params=HEADS.kinds)
def config(request: pytest.FixtureRequest) -> HeadConfig:
    return configured(request.param)


@pytest.fixture(params=TRAINED)
def trained(request: pytest.FixtureRequest) -> TrainedHead.Config:
    """Without dropout, so that its output is a function of its input."""
    config = configured(request.param, dropout=0.0)
    assert isinstance(config, TrainedHead.Config)
    return config


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_head_has_its_papers_formula_here() -> None:
    missing = sorted(HEADS.kinds.keys() - FORMULAS.keys())
    assert not missing, f"write the formula of {missing} in tests/heads/papers.py"


def test_embeddings_equal_the_papers_formula(config: HeadConfig, features: torch.Tensor) -> None:
    head = fitted(config, features).eval()
    with torch.no_grad():
        for weight in head.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator())
    state = {name: value.double().numpy() for name, value in head.state_dict().items()}
    expected = embedded(config, state, features.double().numpy())
    np.testing.assert_allclose(head(features).detach(), expected, rtol=1e-3, atol=1e-4)


def test_a_head_is_trained_or_fitted_in_closed_form_as_its_configuration_says(config: HeadConfig) -> None:
    head = build_head(config, IN_DIM, generator())
    chosen = isinstance(config, ClosedFormHead.Config) and config.chosen
    kind = TrainedHead if config.trained else Head if chosen else ClosedFormHead
    assert isinstance(head, kind)
    assert isinstance(config, kind.Config)


def test_the_dimensions_are_those_of_the_module(trained: TrainedHead.Config) -> None:
    head, rows = build_head(trained, IN_DIM, generator()), torch.randn(9, IN_DIM, generator=generator())
    assert head.train()(rows).shape[1] == trained.loss_dim
    assert head.eval()(rows).shape[1] == trained.embedding_dim(IN_DIM) == trained.dim


def test_gradients_pass_gradcheck(trained: TrainedHead.Config) -> None:
    head = build_head(trained, IN_DIM, generator()).double().train()
    names = [name for name, _ in head.named_parameters()]
    rows = torch.randn(5, IN_DIM, generator=generator(), dtype=torch.float64)

    def embeddings(*weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(head, dict(zip(names, weights, strict=True)), (rows,))

    assert torch.autograd.gradcheck(embeddings, tuple(head.parameters()))


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e6])
def test_embeddings_and_gradients_are_finite_whatever_the_features_length(
    trained: TrainedHead.Config, factor: float
) -> None:
    head = build_head(trained, IN_DIM, generator()).train()
    rows = torch.randn(6, IN_DIM, generator=generator()) * factor
    rows[0] = 0
    embeddings = head(rows)
    embeddings.square().sum().backward()
    assert embeddings.isfinite().all()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in head.parameters())


def test_the_generator_decides_the_initial_values_and_the_global_one_is_left_alone(config: HeadConfig) -> None:
    before = torch.get_rng_state()
    first, second = (build_head(config, IN_DIM, generator()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)
