import numpy as np
import pytest
import torch

from probe.errors import UsageError
from probe.heads import PCA, PCAWhitening, TrainingImages, pca


def fitted(head: type[PCA], features: torch.Tensor, dim: int) -> PCA:
    return head(features.shape[1], dim, torch.Generator()).fit(TrainingImages.of(features))


def whitened_by_numpy(features: np.ndarray, dim: int) -> np.ndarray:
    """UnED section 4.1: eigenvectors of the covariance of L2-normalised features, each to unit variance."""
    unit = np.array([row / np.sqrt(sum(row**2)) for row in features.astype(np.float64)])
    mean = unit.mean(axis=0)
    covariance = np.zeros((unit.shape[1],) * 2)
    for row in unit:
        covariance += np.outer(row - mean, row - mean) / len(unit)
    values, vectors = np.linalg.eigh(covariance)
    columns = [vectors[:, -1 - j] / np.sqrt(values[-1 - j]) for j in range(dim)]
    return (unit - mean) @ np.array(columns).T


@pytest.mark.parametrize("dim", [1, 8, 24])
def test_embeddings_equal_numpys_up_to_the_sign_of_each_direction(features: torch.Tensor, dim: int) -> None:
    expected = whitened_by_numpy(features.numpy(), dim)
    found = fitted(PCAWhitening, features, dim)(features).numpy()
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 8, 24])
def test_plain_pca_keeps_the_variance_of_each_direction(features: torch.Tensor, dim: int) -> None:
    unit = torch.nn.functional.normalize(features.double(), dim=1).numpy()
    centred = unit - unit.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    found = fitted(pca.PCA, features, dim)(features).numpy()
    expected = centred @ directions[:dim].T
    np.testing.assert_allclose(found, expected * np.sign((expected * found).sum(0)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.std(0), spread[:dim] / np.sqrt(500), rtol=1e-3)


def test_embeddings_of_the_training_set_are_centred_with_identity_covariance(features: torch.Tensor) -> None:
    embeddings = fitted(PCAWhitening, features, 12)(features).double()
    torch.testing.assert_close(embeddings.mean(0), torch.zeros(12).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(embeddings.T @ embeddings / 500, torch.eye(12).double(), rtol=0, atol=1e-3)


def test_the_length_of_a_feature_does_not_count(features: torch.Tensor) -> None:
    lengths = torch.logspace(-3, 3, 500)[:, None]
    head, scaled = fitted(PCAWhitening, features, 8), fitted(PCAWhitening, features * lengths, 8)
    torch.testing.assert_close(scaled(features * lengths), head(features), rtol=1e-3, atol=1e-3)


def test_float16_features_are_fitted_in_float64(features: torch.Tensor) -> None:
    half = features.half()
    assert torch.equal(fitted(PCAWhitening, half, 8).projection, fitted(PCAWhitening, half.double(), 8).projection)


@pytest.mark.parametrize("rows", [1, 7, 499, 500, 501])
def test_fitting_block_by_block_equals_fitting_at_once(
    features: torch.Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(PCAWhitening, features, 10)
    monkeypatch.setattr(pca, "BLOCK_ROWS", rows)
    blockwise = fitted(PCAWhitening, features, 10)
    torch.testing.assert_close(blockwise.mean, whole.mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(blockwise.projection, whole.projection, rtol=1e-5, atol=1e-5)


def test_fitting_again_gives_the_same_bits(features: torch.Tensor) -> None:
    assert torch.equal(fitted(PCAWhitening, features, 8).projection, fitted(PCAWhitening, features, 8).projection)


def test_the_largest_entry_of_each_direction_is_positive(features: torch.Tensor) -> None:
    projection = fitted(PCAWhitening, features, 24).projection
    largest = projection.gather(1, projection.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(lambda f: f[:8], id="fewer images than dimensions"),
        pytest.param(lambda f: f[:1], id="one image"),
        pytest.param(lambda f: f[:1].expand(50, -1), id="one image many times"),
        pytest.param(lambda f: torch.cat([f[:, :7], f[:, :17] * 0], dim=1), id="dead channels"),
        pytest.param(lambda f: f[:, :5], id="fewer channels than dimensions"),
    ],
)
def test_features_that_span_too_few_directions_are_refused(features: torch.Tensor, taken) -> None:
    with pytest.raises(UsageError, match=r"PCA-whitening to 8 dimensions: .* span only \d+; lower head\.dim"):
        fitted(PCAWhitening, taken(features), 8)


def test_identical_images_span_no_direction(features: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"span only 0; lower head\.dim"):
        fitted(PCAWhitening, features[:1].expand(50, -1), 1)


def test_features_that_span_just_enough_directions_are_taken(features: torch.Tensor) -> None:
    assert fitted(PCAWhitening, features[:9], 8).projection.isfinite().all()
