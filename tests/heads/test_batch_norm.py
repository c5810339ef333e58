"""BN - dropout - linear with a reduction, against formulas written from the papers in float64."""

import numpy as np
import pytest
import torch

from probe import heads
from probe.errors import UsageError
from probe.heads import BatchNorm, BatchNormLinear, batch_norm_linear, build_head

EPS, MOMENTUM = 1e-5, 0.1


def head(seed: int = 0, **options) -> BatchNormLinear:
    config = heads.BatchNormLinear.Config(**{"dim": 4, "hidden": 12, "dropout": 0.0} | options)
    built = build_head(config, 24, torch.Generator().manual_seed(seed))
    assert isinstance(built, BatchNormLinear)
    return built


def embedded(head: BatchNormLinear, normalised: np.ndarray) -> np.ndarray:
    """(N, hidden), from features after batch normalisation."""
    assert head.linear.bias is not None
    weight, bias = head.linear.weight.detach().double().numpy(), head.linear.bias.detach().double().numpy()
    return normalised @ weight.T + bias


def trained(features: torch.Tensor, **options) -> BatchNormLinear:
    """A head whose running statistics and scales are not those it starts with."""
    made = head(**options).train()
    for block in features.split(50):
        made(block)
    torch.nn.init.uniform_(made.norm.weight, 0.5, 2, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(made.norm.bias, generator=torch.Generator().manual_seed(2))
    return made


def test_in_training_the_batch_is_normalised_by_its_own_moments(features: torch.Tensor) -> None:
    made = head().train()
    batch = features[:40].double().numpy()
    normalised = (batch - batch.mean(0)) / np.sqrt(((batch - batch.mean(0)) ** 2).mean(0) + EPS)
    np.testing.assert_allclose(made(features[:40]).detach(), embedded(made, normalised), rtol=1e-4, atol=1e-4)


def test_the_running_moments_are_exponential_means_of_the_batches_with_the_unbiased_variance(
    features: torch.Tensor,
) -> None:
    made = head().train()
    mean, var = np.zeros(24), np.ones(24)
    for block in features.split(130):
        made(block)
        batch = block.double().numpy()
        mean = (1 - MOMENTUM) * mean + MOMENTUM * batch.mean(0)
        var = (1 - MOMENTUM) * var + MOMENTUM * batch.var(0, ddof=1)
    np.testing.assert_allclose(made.norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made.norm.running_var, var, rtol=1e-4)


def test_in_eval_the_running_moments_normalise_and_pooling_averages_consecutive_dimensions(
    features: torch.Tensor,
) -> None:
    made = trained(features, reduction="average-pooling").eval()
    norm = {name: value.detach().double().numpy() for name, value in made.norm.state_dict().items()}
    rows = (features.double().numpy() - norm["running_mean"]) / np.sqrt(norm["running_var"] + EPS)
    hidden = embedded(made, rows * norm["weight"] + norm["bias"])
    expected = [[sum(row[3 * j : 3 * j + 3]) / 3 for j in range(4)] for row in hidden]
    np.testing.assert_allclose(made(features).detach(), expected, rtol=1e-3, atol=1e-4)


def test_in_eval_pca_projects_centred_unit_embeddings_on_their_leading_directions(features: torch.Tensor) -> None:
    made = trained(features)
    made.fit_reduction(features)
    hidden = made.linear(made.norm(features)).detach().double().numpy()
    unit = hidden / np.sqrt((hidden**2).sum(1, keepdims=True))
    centred = unit - unit.mean(0)
    expected = centred @ np.linalg.svd(centred, full_matrices=False)[2][:4].T
    found = made(features).detach().numpy()
    signs = np.sign((expected * found).sum(0))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=1e-4)


def test_the_loss_sees_the_hidden_dimensions_and_the_search_the_reduced_ones(features: torch.Tensor) -> None:
    made = head()
    assert made.train()(features).shape == (500, 12)
    assert made.eval()(features).shape == (500, 4)
    assert heads.BatchNormLinear.Config().loss_dim == 256
    assert heads.Linear.Config().loss_dim == 64


def test_a_batch_of_one_takes_the_running_moments_and_leaves_them(features: torch.Tensor) -> None:
    made = trained(features)
    before = {name: value.clone() for name, value in made.norm.state_dict().items()}
    alone = made.train()(features[:1])
    assert all(torch.equal(before[name], value) for name, value in made.norm.state_dict().items())
    assert torch.equal(alone, made.linear(made.norm.eval()(features[:1])))
    alone.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())


def test_batch_normalisation_is_pytorchs(features: torch.Tensor) -> None:
    ours, theirs = BatchNorm(24, torch.device("cpu")), torch.nn.BatchNorm1d(24)
    for block in features.split(99):
        assert torch.equal(ours(block), theirs(block))
    assert torch.equal(ours.eval()(features), theirs.eval()(features))


def test_pca_is_fitted_on_evenly_spaced_images_where_there_are_many(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take(rows: np.ndarray) -> torch.Tensor:
        taken.append(rows.tolist())
        return features[rows]

    made = trained(features)
    made.after_epoch(500, take)
    monkeypatch.setattr(batch_norm_linear, "REDUCED_FROM", 170)
    made.after_epoch(500, take)
    made.after_epoch(170, take)
    head(reduction="average-pooling").after_epoch(500, take)
    assert taken == [list(range(500)), list(range(0, 500, 3)), list(range(170))]


@pytest.mark.parametrize("rows", [1, 37, 499, 501])
def test_fitting_block_by_block_equals_fitting_at_once(
    features: torch.Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trained(features)
    made.fit_reduction(features)
    whole = made.reduction.state_dict()["projection"].clone()
    monkeypatch.setattr(batch_norm_linear, "BLOCK_ROWS", rows)
    made.fit_reduction(features)
    torch.testing.assert_close(made.reduction.state_dict()["projection"], whole, rtol=1e-4, atol=1e-5)


def test_refitting_leaves_what_is_trained_alone_and_gives_the_same_bits(features: torch.Tensor) -> None:
    made = trained(features)
    before = {name: value.clone() for name, value in made.state_dict().items() if not name.startswith("reduction")}
    made.fit_reduction(features.half())
    first = made.reduction.state_dict()["projection"].clone()
    made.fit_reduction(features.half())
    assert torch.equal(made.reduction.state_dict()["projection"], first)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())


def test_embeddings_that_span_too_few_directions_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"PCA to 4 dimensions: the 4 training features span only 3; lower head\.dim"):
        head().fit_reduction(features[:4])


def test_dropout_comes_after_the_normalisation(features: torch.Tensor) -> None:
    made = head(dropout=0.5, hidden=24).train()
    with torch.no_grad():
        made.linear.weight.copy_(torch.eye(24))
        made.linear.state_dict()["bias"].zero_()
    out = made(features).detach()
    kept = out != 0
    assert kept.double().mean().item() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(out[kept], 2 * made.norm(features).detach()[kept])
