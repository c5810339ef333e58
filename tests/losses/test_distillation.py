"""Both terms against their formulas in float64, written out image by image and class by class."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from probe.losses.distillation import logit_distillation, relation_distillation

IMAGES, CLASSES, DIM, TEACHER_DIM = 5, 17, 4, 6


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def drawn(dtype: torch.dtype = torch.float64) -> Batch:
    """Student's embeddings and class centres, then the teacher's; all of random length, all asking for a gradient."""
    generator = torch.Generator().manual_seed(3)

    def rows(count: int, dim: int) -> Tensor:
        return (3 * torch.randn(count, dim, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()

    return rows(IMAGES, DIM), rows(CLASSES, DIM), rows(IMAGES, TEACHER_DIM), rows(CLASSES, TEACHER_DIM)


def through_length(vector: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The gradient of a vector from that of its unit vector."""
    length = np.linalg.norm(vector)
    unit = vector / length
    return (gradient - (gradient @ unit) * unit) / length


def unit(rows: np.ndarray) -> list[np.ndarray]:
    return [row / np.linalg.norm(row) for row in rows]


def divergence(tensors: Batch, temperature: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Its value, and the gradients of the student's embeddings and centres."""
    x, w, teacher, centers = (tensor.detach().double().numpy() for tensor in tensors)
    value, x_gradient, w_gradient = 0.0, np.zeros_like(x), np.zeros_like(w)
    for i, (u, v) in enumerate(zip(unit(x), unit(teacher), strict=True)):
        e = [math.exp(v @ c / temperature) for c in unit(centers)]
        f = [math.exp(u @ c / temperature) for c in unit(w)]
        p, q = [each / sum(e) for each in e], [each / sum(f) for each in f]
        value += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(x)
        for j, center in enumerate(unit(w)):
            slope = (q[j] - p[j]) / temperature / len(x)
            x_gradient[i] += slope * through_length(x[i], center)
            w_gradient[j] += slope * through_length(w[j], u)
    return value, x_gradient, w_gradient


def relation(tensors: Batch) -> tuple[float, np.ndarray]:
    """Its value, and the gradient of the student's embeddings."""
    x, _, teacher, _ = (tensor.detach().double().numpy() for tensor in tensors)
    value, gradient, own, given = 0.0, np.zeros_like(x), unit(x), unit(teacher)
    for i in range(len(x)):
        for j in range(len(x)):
            apart = own[i] @ own[j] - given[i] @ given[j]
            value += float(apart) ** 2 / (4 * len(x))
            for a, b in ((i, j), (j, i)):
                gradient[a] += 2 * apart / (4 * len(x)) * through_length(x[a], own[b])
    return value, gradient


@pytest.mark.parametrize("temperature", [0.1, 1.0, 1 / 64])
@pytest.mark.parametrize("chunk", [None, 1, 5, 17, 100])
def test_logit_distillation_is_the_divergence_from_the_teachers_probabilities(
    temperature: float, chunk: int | None
) -> None:
    tensors = drawn()
    expected, *gradients = divergence(tensors, temperature)
    value = logit_distillation(*tensors, temperature, chunk=chunk)
    assert value.item() == pytest.approx(expected, rel=1e-10, abs=1e-13)
    for found, gradient in zip(torch.autograd.grad(value, tensors[:2]), gradients, strict=True):
        np.testing.assert_allclose(found.numpy(), gradient, rtol=1e-9, atol=1e-13)


def test_relation_distillation_is_the_squared_difference_of_the_batchs_cosines() -> None:
    tensors = drawn()
    expected, gradient = relation(tensors)
    value = relation_distillation(tensors[0], tensors[2])
    assert value.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(value, tensors[0])[0].numpy(), gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.1, 1 / 64])
def test_single_precision_is_near_and_finite(temperature: float) -> None:
    tensors = drawn(torch.float32)
    expected, *gradients = divergence(tensors, temperature)
    value = logit_distillation(*tensors, temperature, chunk=5)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    for found, gradient in zip(torch.autograd.grad(value, tensors[:2]), gradients, strict=True):
        np.testing.assert_allclose(found.numpy(), gradient, atol=1e-4 * np.abs(gradient).max())


def test_nothing_reaches_the_teacher() -> None:
    tensors = drawn()
    value = logit_distillation(*tensors, 0.1) + relation_distillation(tensors[0], tensors[2])
    found = torch.autograd.grad(value, tensors, allow_unused=True)
    assert [gradient is None for gradient in found] == [False, False, True, True]


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    x, w, _, _ = drawn()
    assert logit_distillation(x, w, x, w, 0.1).item() == pytest.approx(0, abs=1e-14)
    assert relation_distillation(x, x).item() == 0
    assert relation_distillation(x[:1], w[:1]).item() == pytest.approx(0, abs=1e-30), "one image has no relations"


def test_bf16_products_are_near() -> None:
    tensors = drawn(torch.float32)
    exact, near = (logit_distillation(*tensors, 0.1, precision=precision) for precision in ("fp32", "bf16"))
    assert near.item() == pytest.approx(exact.item(), rel=0.05)


def test_a_temperature_whose_exponentials_could_overflow_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        logit_distillation(*drawn(), temperature=0.01)
