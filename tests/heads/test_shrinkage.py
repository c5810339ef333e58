"""The likeliest shrinkage against its formula in plain loops, and that it grows where there is less to go by."""

import numpy as np
import pytest
import torch

from probe.heads import Discriminant, TrainingImages, likeliest_shrinkage
from probe.heads.shrinkage import SHRINKAGES


def made(classes: int, images: int = 8, dim: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """(classes * images, dim) features whose classes differ within in a few directions much more than in others."""
    generator = torch.Generator().manual_seed(classes)
    labels = torch.arange(classes * images) % classes
    spread = torch.logspace(0, -2, dim)
    centres = 0.3 * torch.randn(classes, dim, generator=generator)
    return 1 + centres[labels] + spread * torch.randn(len(labels), dim, generator=generator), labels


def by_the_formula(features: torch.Tensor, labels: torch.Tensor, power: float) -> float:
    raised = np.sign(features.numpy()) * np.abs(features.double().numpy()) ** power
    unit = np.array([row / np.sqrt(sum(row**2)) for row in raised])
    axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)[2]
    inner = (unit - unit.mean(0)) @ axes.T
    counts = np.bincount(labels.numpy())
    of_two = [label for label, count in enumerate(counts) if count > 1]
    folds = [of_two[start :: min(5, len(of_two))] for start in range(min(5, len(of_two)))]
    scatter = np.zeros((len(folds), len(axes), len(axes)))
    for fold, members in enumerate(folds):
        for label in members:
            rows = inner[labels.numpy() == label]
            scatter[fold] += sum((np.outer(row, row) for row in rows - rows.mean(0)), np.zeros_like(scatter[fold]))
    freedom = [sum(counts[label] - 1 for label in fold) for fold in folds]
    found = []
    for shrinkage in SHRINKAGES:
        total = 0.0
        for left_out, weight in zip(scatter, freedom, strict=True):
            others = (scatter.sum(0) - left_out) / (sum(freedom) - weight)
            covariance = others + shrinkage * np.trace(others) / 1000 * np.eye(len(axes))
            total -= weight * np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, left_out))
        found.append(total)
    return SHRINKAGES[int(np.argmax(found))]


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 4, 12])
def test_it_is_that_of_the_formula(classes: int, power: float) -> None:
    features, labels = made(classes)
    labels[-1] = classes  # a class of one image
    head = Discriminant(12, 2, torch.Generator(), power=power)
    found = likeliest_shrinkage(head, TrainingImages.of(features, labels))
    assert found == by_the_formula(features, labels, power)


def test_it_is_larger_the_fewer_classes_there_are() -> None:
    found = []
    for classes in (2, 5, 100):
        features, labels = made(classes, images=4)
        head = Discriminant(12, 2, torch.Generator())
        found.append(likeliest_shrinkage(head, TrainingImages.of(features, labels)))
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


@pytest.mark.parametrize(
    "labels", [torch.zeros(6, dtype=torch.long), torch.arange(6), torch.tensor([0, 0, 1, 2, 3, 4])]
)
def test_with_fewer_than_two_classes_of_two_images_there_is_none(labels: torch.Tensor) -> None:
    features = torch.rand(6, 12, generator=torch.Generator().manual_seed(0))
    assert likeliest_shrinkage(Discriminant(12, 2, torch.Generator()), TrainingImages.of(features, labels)) is None
