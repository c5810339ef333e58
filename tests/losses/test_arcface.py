import math

import pytest
import torch

from probe import losses
from probe.losses import build_loss
from probe.losses.adaface import add_angle
from probe.losses.arcface import ArcFace, add_angular_margin

CLASSES, DIM = 5, 6
SIZES = torch.ones(CLASSES, dtype=torch.int64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arcface(sub_centers: int = 1, classes: int = CLASSES, dim: int = DIM, seed: int = 0) -> ArcFace:
    return ArcFace(classes, dim, 0.5, 30.0, generator(seed), sub_centers=sub_centers)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5, 2.0, 3.14])
def test_the_margin_always_lowers_the_labels_cosine_and_keeps_its_order(margin: float) -> None:
    cosines = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    target = add_angular_margin(cosines, torch.tensor(margin, dtype=torch.float64))
    assert (target < cosines).all()
    kept = target.diff() > 0
    jump = math.cos(math.pi - margin)  # the two branches meet in value only at margin 0
    assert (kept | ((cosines[:-1] <= jump) & (cosines[1:] > jump))).all()


def test_an_angle_that_is_turned_stays_in_the_half_circle() -> None:
    theta = torch.linspace(0, math.pi, 1001, dtype=torch.float64)
    for angle in (-0.7, 0.0, 0.7):
        found = add_angle(theta.cos(), torch.full_like(theta, angle))
        torch.testing.assert_close(found, (theta + angle).clamp(0, math.pi).cos(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_the_length_of_an_embedding_does_not_change_the_loss(factor: float) -> None:
    loss = arcface(2).double()
    x = torch.randn(7, DIM, generator=generator(1), dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, CLASSES, (7,), generator=generator(2))
    first = loss(x, labels)
    scaled = loss(x * factor, labels)
    assert scaled.item() == pytest.approx(first.item(), rel=1e-12)
    for a, b in zip(*(torch.autograd.grad(value, [x, loss.weight]) for value in (first, scaled)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_sub_center_arcface_with_one_centre_is_arcface() -> None:
    x, labels = torch.randn(6, DIM, generator=generator(1)), torch.tensor([0, 4, 2, 2, 1, 3])
    one = build_loss(losses.SubCenterArcFace.Config(sub_centers=1), SIZES, DIM, generator())
    other = build_loss(losses.ArcFace.Config(), SIZES, DIM, generator())
    assert torch.equal(one(x, labels), other(x, labels))


def test_a_configuration_sets_margin_scale_and_centres() -> None:
    built = build_loss(losses.SubCenterArcFace.Config(margin=0.3, scale=16, sub_centers=4), SIZES, DIM, generator())
    assert isinstance(built, ArcFace)
    assert (built.margin, built.scale, built.sub_centers) == (0.3, 16, 4)
    assert built.weight.shape == (4 * CLASSES, DIM)


def test_the_class_matrix_starts_xavier_uniform() -> None:
    weight = arcface(3, classes=500, dim=64).weight.detach()
    bound = math.sqrt(6 / (64 + 3 * 500))
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.999 * bound
    assert weight.mean().abs() < 0.01 * bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_the_same_seed_gives_the_same_class_matrix_whatever_the_global_state() -> None:
    first = arcface(3).weight
    torch.rand(3)
    assert torch.equal(first, arcface(3).weight)
    assert not torch.equal(first, arcface(3, seed=1).weight)
