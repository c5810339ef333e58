import math

import numpy as np
import pytest
import torch

from probe.losses import config as losses
from probe.losses.arcface import ArcFace
from probe.losses.build import build_loss

CLASSES, DIM, MARGIN, SCALE = 5, 6, 0.5, 30.0


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def arcface(sub_centers: int, margin: float = MARGIN, classes: int = CLASSES, scale: float = SCALE) -> ArcFace:
    return ArcFace(classes, DIM, margin, scale, generator(), sub_centers).double()


def batch(size: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    embeddings = torch.randn(size, DIM, generator=generator(seed), dtype=torch.float64) * 3
    return embeddings, torch.randint(0, CLASSES, (size,), generator=generator(seed + 1))


def paper(x: np.ndarray, labels: np.ndarray, weight: np.ndarray, sub_centers: int, margin: float, scale: float = SCALE):
    """Loss, its gradients for x and the weight: loops over images, classes and sub-centres, the angle from acos.

    Where sub-centres tie, their share of the gradient is divided evenly.
    """
    classes = len(weight) // sub_centers
    loss, x_gradient, weight_gradient = 0.0, np.zeros_like(x), np.zeros_like(weight)
    for i, label in enumerate(labels):
        x_unit = x[i] / math.sqrt(sum(x[i] ** 2))
        cosine, slope, logits = np.zeros(classes), np.ones(classes), np.zeros(classes)
        winners: list[list[int]] = []
        for c in range(classes):
            rows = [k * classes + c for k in range(sub_centers)]
            each = [x_unit @ weight[row] / math.sqrt(sum(weight[row] ** 2)) for row in rows]
            cosine[c] = max(each)
            winners.append([row for row, value in zip(rows, each, strict=True) if value == cosine[c]])
            theta = math.acos(min(1.0, max(-1.0, cosine[c])))
            if c != label:
                logits[c] = scale * cosine[c]
            elif cosine[c] > math.cos(math.pi - margin):
                logits[c] = scale * math.cos(theta + margin)
                slope[c] = math.sin(theta + margin) / math.sin(theta)
            else:
                logits[c] = scale * (cosine[c] - margin * math.sin(math.pi - margin))
        exponentials = [math.exp(logit) for logit in logits]
        loss += (math.log(sum(exponentials)) - logits[label]) / len(labels)
        for c in range(classes):
            outer = (exponentials[c] / sum(exponentials) - (c == label)) * scale * slope[c] / len(labels)
            for row in winners[c]:
                length = math.sqrt(sum(weight[row] ** 2))
                unit = weight[row] / length
                share = outer / len(winners[c])
                x_gradient[i] += share * (unit - cosine[c] * x_unit) / math.sqrt(sum(x[i] ** 2))
                weight_gradient[row] += share * (x_unit - cosine[c] * unit) / length
    return loss, x_gradient, weight_gradient


def gradients(loss: ArcFace, x: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x, labels)
    x_gradient, weight_gradient = torch.autograd.grad(value, [x, loss.weight])
    return value.item(), x_gradient, weight_gradient


def assert_equals_paper(loss: ArcFace, x: torch.Tensor, labels: torch.Tensor) -> None:
    expected = paper(x.numpy(), labels.numpy(), loss.weight.detach().numpy(), loss.sub_centers, loss.margin, loss.scale)
    for found, wanted in zip(gradients(loss, x, labels), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5, 2.0])
@pytest.mark.parametrize("sub_centers", [1, 2, 3, 4])
def test_value_and_gradients_equal_the_papers_formula(sub_centers: int, margin: float) -> None:
    assert_equals_paper(arcface(sub_centers, margin), *batch(9))


def test_a_batch_of_one_equals_the_papers_formula() -> None:
    assert_equals_paper(arcface(3), *batch(1))


def test_a_class_with_a_single_image_equals_the_papers_formula() -> None:
    embeddings, _ = batch(6)
    assert_equals_paper(arcface(2), embeddings, torch.tensor([0, 0, 0, 0, 0, 4]))


def test_a_single_class_has_loss_and_gradients_zero() -> None:
    embeddings, _ = batch(4)
    value, x_gradient, weight_gradient = gradients(arcface(3, classes=1), embeddings, torch.zeros(4, dtype=torch.int64))
    assert value == 0
    assert not x_gradient.any()
    assert not weight_gradient.any()


@pytest.mark.parametrize("past_pi", [-0.2, -0.01, 0.01, 0.2])
def test_the_margin_near_pi_equals_the_papers_formula_on_both_sides(past_pi: float) -> None:
    loss, theta = arcface(1), math.pi - MARGIN + past_pi
    direction, other = torch.linalg.qr(torch.stack([loss.weight[2].detach(), torch.ones(DIM).double()], dim=1)).Q.T
    direction = direction * (direction @ loss.weight[2].detach()).sign()
    embedding = 2 * (math.cos(theta) * direction + math.sin(theta) * other)
    assert_equals_paper(loss, embedding[None], torch.tensor([2]))


def test_the_margin_always_lowers_the_labels_cosine_and_keeps_its_order() -> None:
    cosines = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    lowered = arcface(1)._with_margin(cosines)
    assert (lowered < cosines).all()
    assert (lowered.diff() > 0).all()


def test_tied_sub_centres_equal_the_papers_formula() -> None:
    loss, (embeddings, labels) = arcface(3), batch(8)
    with torch.no_grad():
        loss.weight.zero_()
        loss.weight.view(3, CLASSES, DIM)[:, :, :CLASSES] = torch.eye(CLASSES, dtype=torch.float64)
    expected, x_expected, weight_expected = paper(
        embeddings.numpy(), labels.numpy(), loss.weight.detach().numpy(), 3, MARGIN
    )
    value, x_gradient, weight_gradient = gradients(loss, embeddings, labels)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(x_gradient, x_expected, atol=1e-9)
    # how tied sub-centres share the gradient is free; their sum is not
    by_class = weight_gradient.view(3, CLASSES, DIM).sum(0)
    np.testing.assert_allclose(by_class, weight_expected.reshape(3, CLASSES, DIM).sum(0), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sub_centers", [1, 3])
def test_a_target_cosine_of_exactly_one_has_the_papers_value_and_a_finite_gradient(
    sub_centers: int, sign: int, dtype: torch.dtype
) -> None:
    loss = ArcFace(CLASSES, DIM, MARGIN, SCALE, generator(), sub_centers).to(dtype)
    with torch.no_grad():
        loss.weight.zero_()
        loss.weight.view(sub_centers, CLASSES, DIM)[:, :, :CLASSES] = torch.eye(CLASSES, dtype=dtype)
    embedding, label = sign * 4 * torch.eye(DIM, dtype=dtype)[:1], torch.tensor([0])
    value, x_gradient, weight_gradient = gradients(loss, embedding, label)
    target = math.cos(MARGIN) if sign > 0 else -1 - MARGIN * math.sin(MARGIN)
    expected = math.log(math.exp(SCALE * target) + CLASSES - 1) - SCALE * target
    # the sine is kept at 1e-6, which may move the logit by this much
    assert value == pytest.approx(expected, rel=1e-6, abs=2e-6 * SCALE)
    assert x_gradient.isfinite().all()
    assert weight_gradient.isfinite().all()


def test_embeddings_parallel_to_their_centre_up_to_rounding_stay_finite() -> None:
    loss = ArcFace(400, 64, MARGIN, SCALE, generator())
    centres, labels = loss.weight.detach(), torch.arange(400)
    for x in (centres * 3, -centres * 0.7, centres + 1e-7):
        value, x_gradient, weight_gradient = gradients(loss, x, labels)
        assert math.isfinite(value)
        assert x_gradient.isfinite().all()
        assert weight_gradient.isfinite().all()


def test_gradients_pass_gradcheck_away_from_kinks() -> None:
    loss, (embeddings, labels) = arcface(3, scale=4.0), batch(5)

    def value(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(loss, {"weight": weight}, (x, labels))

    assert torch.autograd.gradcheck(value, (embeddings.requires_grad_(), loss.weight.detach().requires_grad_()))


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_the_length_of_an_embedding_does_not_change_the_loss(factor: float) -> None:
    loss, (embeddings, labels) = arcface(2), batch(7)
    value, x_gradient, weight_gradient = gradients(loss, embeddings, labels)
    scaled_value, scaled_x_gradient, scaled_weight_gradient = gradients(loss, embeddings * factor, labels)
    assert scaled_value == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(scaled_x_gradient * factor, x_gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scaled_weight_gradient, weight_gradient, rtol=1e-9, atol=1e-12)


def test_float32_is_within_rounding_of_the_papers_formula() -> None:
    loss = ArcFace(200, 32, MARGIN, SCALE, generator(), 3)
    x = torch.randn(16, 32, generator=generator(1))
    labels = torch.arange(16) * 12
    weight = loss.weight.detach().double().numpy()
    expected = paper(x.double().numpy(), labels.numpy(), weight, 3, MARGIN)
    for found, wanted in zip(gradients(loss, x, labels), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))


def test_sub_center_arcface_with_one_centre_is_arcface() -> None:
    embeddings, labels = batch(6)
    one = build_loss(losses.SubCenterArcFace(sub_centers=1), torch.ones(CLASSES), DIM, generator())
    other = build_loss(losses.ArcFace(), torch.ones(CLASSES), DIM, generator())
    assert isinstance(one, ArcFace)
    assert isinstance(other, ArcFace)
    for a, b in zip(
        gradients(one, embeddings.float(), labels), gradients(other, embeddings.float(), labels), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_configuration_sets_margin_scale_and_centres() -> None:
    built = build_loss(
        losses.SubCenterArcFace(margin=0.3, scale=16, sub_centers=4), torch.ones(CLASSES), DIM, generator()
    )
    assert isinstance(built, ArcFace)
    assert (built.margin, built.scale, built.sub_centers) == (0.3, 16, 4)
    assert built.weight.shape == (4 * CLASSES, DIM)


def test_the_class_matrix_starts_xavier_uniform() -> None:
    weight = ArcFace(500, 64, MARGIN, SCALE, generator(), sub_centers=3).weight.detach()
    bound = math.sqrt(6 / (64 + 3 * 500))
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.999 * bound
    assert weight.mean().abs() < 0.01 * bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_the_same_seed_gives_the_same_class_matrix_whatever_the_global_state() -> None:
    first = arcface(3).weight
    torch.rand(3)
    assert torch.equal(first, arcface(3).weight)
    assert not torch.equal(first, ArcFace(CLASSES, DIM, MARGIN, SCALE, generator(1), 3).weight)
