"""The discriminant against its formula in plain loops, in float64; its prefixes; and where there is little to go by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probe.errors import UsageError
from probe.heads import Discriminant, TrainingImages, discriminant
from tests.conftest import quick

LABELS = torch.arange(500) % 50  # ten images of each class


@pytest.fixture
def features() -> torch.Tensor:
    """(500, 24): what classes share is in the first 12 channels, what differs within them in the others, and larger."""
    generator = torch.Generator().manual_seed(5)
    classes = torch.randn(50, 24, generator=generator) * torch.cat([torch.ones(12), 0.3 * torch.ones(12)])
    within = torch.randn(500, 24, generator=generator) * torch.cat([0.4 * torch.ones(12), torch.linspace(1, 2, 12)])
    return classes[LABELS] + within + 0.5


def fitted(features: torch.Tensor, labels: torch.Tensor = LABELS, dim: int = 8, **options: float) -> Discriminant:
    config = Discriminant.Config.model_validate({"dim": dim} | options)
    head = Discriminant.build(config, features.shape[1], torch.Generator())
    return head.fit(TrainingImages.of(features, labels))


def by_the_formula(
    features: np.ndarray,
    labels: np.ndarray,
    dim: int,
    shrinkage: float,
    power: float,
    neighbours: int,
    collection: np.ndarray | None = None,
) -> np.ndarray:
    """(n, dim) embeddings of the images that it is fitted on, the last step on those of them that are in `collection`,
    where there is one."""
    raised = np.sign(features) * np.abs(features.astype(np.float64)) ** power
    unit = np.array([row / np.sqrt(sum(row**2)) for row in raised])
    centred = unit - unit.mean(0)
    classes = {label: centred[labels == label] for label in set(labels)}
    within = sum(np.outer(row - rows.mean(0), row - rows.mean(0)) for rows in classes.values() for row in rows)
    within = within / len(features)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    within = axes @ within @ axes.T
    values, vectors = np.linalg.eigh(within + shrinkage * np.trace(within) / 1000 * np.eye(len(axes)))
    whitened = centred @ axes.T @ vectors @ np.diag(values**-0.5) @ vectors.T
    lengths = np.sqrt((whitened**2).sum(1))
    if collection is not None:
        members = (unit[collection] - unit.mean(0)) @ axes.T @ vectors @ np.diag(values**-0.5) @ vectors.T
        members = np.array([row / np.sqrt(sum(row**2)) for row in members])
        directions = np.linalg.svd(members - members.mean(0), full_matrices=False)[2].T
        return whitened @ directions[:, :dim]
    between = np.zeros((len(axes), len(axes)))
    for image, label in enumerate(labels):
        cosines = whitened @ whitened[image] / lengths / lengths[image]
        others = [other for other in np.argsort(-cosines) if labels[other] != label]
        for other in others[:neighbours]:
            between += np.outer(whitened[image] - whitened[other], whitened[image] - whitened[other])
    directions = np.linalg.eigh(between)[1][:, ::-1]
    return whitened @ directions[:, :dim]


def assert_same_up_to_signs(found: torch.Tensor, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    signs = np.sign((found.numpy() * expected).sum(0))
    np.testing.assert_allclose(found.numpy() / scale, expected * signs / scale, atol=2e-4)


@pytest.mark.parametrize(
    ("shrinkage", "power", "neighbours"), quick([(30.0, 0.5, 3), (1.0, 1.0, 20), (0.01, 0.7, 1), (1.0, 1.0, 600)])
)
def test_embeddings_equal_those_of_plain_loops(
    features: torch.Tensor, shrinkage: float, power: float, neighbours: int
) -> None:
    options = {"shrinkage": shrinkage, "power": power, "neighbours": neighbours}
    expected = by_the_formula(features.numpy(), LABELS.numpy(), 8, **options)
    assert_same_up_to_signs(fitted(features, **options)(features), expected)


def test_fitted_to_a_collection_its_directions_are_the_principal_ones_of_that_in_one_pass(
    features: torch.Tensor,
) -> None:
    rows, members = torch.arange(500), torch.arange(0, 500, 3)
    images = TrainingImages(
        LABELS,
        [rows.numpy()],
        take=lambda chosen: pytest.fail("no neighbour is searched"),
        blocks=lambda: iter([(rows, features)]),
        collection=lambda: zip(members.split(40), features[members].split(40), strict=True),
    )
    head = Discriminant(24, 8, torch.Generator(), shrinkage=2.0, power=0.5).fit(images)
    expected = by_the_formula(features.numpy(), LABELS.numpy(), 8, 2.0, 0.5, 20, members.numpy())
    assert_same_up_to_signs(head(features), expected)
    few = replace(images, collection=lambda: iter([(rows[:5], features[:5])]))
    with pytest.raises(UsageError, match=r"to 8 dimensions: the images of the collection span only 4; lower head\.dim"):
        Discriminant(24, 8, torch.Generator()).fit(few)


def test_the_first_dimensions_are_the_embedding_of_a_smaller_head(features: torch.Tensor) -> None:
    whole = fitted(features, dim=24)(features)
    for dim in (1, 5, 23):
        assert torch.equal(fitted(features, dim=dim).projection, fitted(features, dim=24).projection[:dim])
        torch.testing.assert_close(fitted(features, dim=dim)(features), whole[:, :dim], rtol=1e-4, atol=1e-4)


def test_it_finds_the_directions_in_which_classes_differ(features: torch.Tensor) -> None:
    projection = fitted(features, dim=4).projection
    assert projection[:, :12].norm() > 3 * projection[:, 12:].norm()


def test_only_the_leading_components_are_worked_in(features: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discriminant, "COMPONENTS", 10)
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    axes = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)[2][:10].float()
    projection = fitted(features, dim=6).projection
    torch.testing.assert_close(projection @ axes.T @ axes, projection, rtol=1e-4, atol=1e-3)


def test_blocks_and_searches_of_any_size_give_the_same_head(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(features).projection
    monkeypatch.setattr(discriminant, "QUERIES", 37)
    rows = torch.arange(500)

    def blocks():
        yield from zip(rows.split(33), features.split(33), strict=True)

    images = TrainingImages(LABELS, [rows.numpy()], lambda chosen: features[torch.from_numpy(chosen)], blocks)
    found = Discriminant(24, 8, torch.Generator()).fit(images).projection
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


def test_of_many_images_a_sample_evenly_spaced_has_its_neighbours_searched(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discriminant, "SAMPLED", 250)
    labels = torch.arange(500) // 10
    taken = []

    def take(rows: np.ndarray) -> torch.Tensor:
        taken.append(rows.tolist())
        return features[torch.from_numpy(rows)]

    images = TrainingImages(labels, [np.arange(500)], take, lambda: iter([(torch.arange(500), features)]))
    Discriminant(24, 8, torch.Generator()).fit(images)
    assert taken == [list(range(0, 500, 2))]


def test_the_length_of_a_feature_does_not_count_and_float16_is_fitted_in_float64(features: torch.Tensor) -> None:
    half = features.half()
    assert torch.equal(fitted(half).projection, fitted(half.double()).projection)
    scaled = half.double() * torch.logspace(-3, 3, 500)[:, None]
    expected = fitted(half, power=0.5)(half.float())
    torch.testing.assert_close(fitted(scaled, power=0.5)(scaled.float()), expected, rtol=1e-3, atol=1e-3)


def test_classes_of_one_image_are_neighbours_and_tell_nothing_of_the_spread_within(features: torch.Tensor) -> None:
    labels = torch.cat([torch.arange(400) % 40, torch.arange(40, 140)])
    expected = by_the_formula(features.numpy(), labels.numpy(), 8, 1.0, 1.0, 20)
    assert_same_up_to_signs(fitted(features, labels)(features), expected)


def test_there_may_be_more_dimensions_than_images_and_constant_or_dead_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 8
    features = torch.randn(8, 100, generator=generator)[labels] + 0.5 * torch.randn(40, 100, generator=generator)
    features[:, 90:] = 0
    features[:, 89] = 1
    head = fitted(features, labels, dim=30)
    assert head(features).isfinite().all()
    assert (head.projection[:, 90:] == 0).all()
    expected = by_the_formula(features[:, :90].numpy(), labels.numpy(), 30, 1.0, 1.0, 20)
    found = head(features).double().numpy()
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3 * np.abs(expected @ expected.T).max())


def test_images_of_zeros_are_embedded(features: torch.Tensor) -> None:
    features[:3] = 0
    assert fitted(features, power=0.5)(features).isfinite().all()


@pytest.mark.parametrize(
    ("labels", "lack"), [(torch.zeros(500).long(), "are of one class"), (torch.arange(500), "have no class of two")]
)
def test_images_that_tell_nothing_of_classes_are_refused(
    features: torch.Tensor, labels: torch.Tensor, lack: str
) -> None:
    with pytest.raises(UsageError, match=rf"the 500 training images {lack}; take pca-whitening\.$"):
        fitted(features, labels)


def test_features_that_span_too_few_directions_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"a discriminant to 8 dimensions: .* span only 7; lower head\.dim\.$"):
        fitted(features[:8], LABELS[:8] % 4)
    with pytest.raises(UsageError, match=r"span only \d; lower head\.dim\.$"):
        fitted(features[:1].expand(50, -1), LABELS[:50] % 5)


def test_fitting_again_gives_the_same_bits_with_the_largest_entry_of_each_direction_positive(
    features: torch.Tensor,
) -> None:
    projection = fitted(features).projection
    assert torch.equal(fitted(features).projection, projection)
    assert (projection.gather(1, projection.abs().argmax(1, keepdim=True)) > 0).all()
