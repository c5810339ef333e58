import math

import pytest
import torch
from torch.nn import functional as F

from probe.losses import core
from probe.losses.core import class_logits

CLASSES, DIM, BATCH = 23, 6, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(
    sub_centers: int = 1, dtype: torch.dtype = torch.float64, batch: int = BATCH, classes: int = CLASSES, dim: int = DIM
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit embeddings, weight of any length, labels."""
    unit = F.normalize(torch.randn(batch, dim, generator=generator(1), dtype=dtype))
    weight = torch.randn(sub_centers * classes, dim, generator=generator(2), dtype=dtype) * 3
    return unit.requires_grad_(), weight.requires_grad_(), torch.randint(0, classes, (batch,), generator=generator(3))


def whole(unit, weight, labels, sub_centers: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same two vectors from the whole (B, C) matrix."""
    cosines = (unit @ F.normalize(weight).T).view(len(unit), sub_centers, -1).amax(1)
    label = F.one_hot(labels, cosines.shape[1]).bool()
    return cosines[label], (scale * cosines).masked_fill(label, -torch.inf).logsumexp(1)


def gradients(outputs, unit, weight) -> list[torch.Tensor]:
    """Of a sum in which every output has a weight of its own, some negative."""
    target, others = outputs
    mixed = (target * torch.linspace(-2, 1, len(target))).sum() + (others * torch.linspace(-1, 3, len(target))).sum()
    return list(torch.autograd.grad(mixed, [unit, weight]))


@pytest.mark.parametrize("scale", [1.0, 30.0, 64.0, 64.1, 500.0])
@pytest.mark.parametrize("sub_centers", [1, 2, 4])
@pytest.mark.parametrize("chunk", [1, 2, 7, 22, 23, 24, None])
def test_classes_in_chunks_equal_the_whole_matrix(chunk: int | None, sub_centers: int, scale: float) -> None:
    unit, weight, labels = problem(sub_centers)
    found = class_logits(unit, weight, labels, sub_centers, scale, chunk=chunk)
    expected = whole(unit, weight, labels, sub_centers, scale)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(found, unit, weight), gradients(expected, unit, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [60.0, 128.0, 1000.0])
def test_other_classes_far_below_float32s_least_exponential_are_counted_exactly(scale: float) -> None:
    weight = -torch.eye(4)[0].repeat(8, 1)  # all at a cosine of -1
    weight[3] = torch.eye(4)[1]
    unit, labels = torch.eye(4)[:1].clone().requires_grad_(), torch.tensor([3])
    _, others = class_logits(unit, weight, labels, 1, scale, chunk=3)
    assert others.item() == pytest.approx(math.log(7) - scale, rel=1e-6)
    (gradient,) = torch.autograd.grad(others, unit)
    assert gradient[0, 0].item() == pytest.approx(-scale, rel=1e-4)


@pytest.mark.parametrize("scale", [64.0, 65.0])
def test_a_million_classes_at_a_cosine_of_one_do_not_overflow(scale: float) -> None:
    unit, weight = torch.ones(2, 1).requires_grad_(), torch.ones(1_000_000, 1)
    _, others = class_logits(unit, weight, torch.tensor([0, 999_999]), 1, scale)
    torch.testing.assert_close(others, torch.full((2,), scale + math.log(999_999)), rtol=1e-6, atol=0.0)
    assert torch.autograd.grad(others.sum(), unit)[0].isfinite().all()


@pytest.mark.parametrize("sub_centers", [2, 3, 4])
def test_of_sub_centres_that_tie_the_first_gets_the_gradient(sub_centers: int) -> None:
    centers = torch.eye(3).repeat(sub_centers, 1).requires_grad_()  # row k * 3 + c is the axis c
    unit, labels = torch.eye(3)[:2].clone().requires_grad_(), torch.tensor([2, 2])
    target, others = class_logits(unit, centers, labels, sub_centers, 4.0, chunk=2)
    (gradient,) = torch.autograd.grad(target.sum() + others.sum(), centers)
    assert gradient[:3].any(1).all()
    assert not gradient[3:].any()


def test_one_class_has_no_others() -> None:
    unit, weight, labels = problem(3, classes=1)
    target, others = class_logits(unit, weight, labels, 3, 30.0)
    assert (others == -torch.inf).all()
    for gradient in torch.autograd.grad(F.softplus(others - 30 * target).sum(), [unit, weight]):
        assert not gradient.any()


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_gradients_pass_gradcheck(sub_centers: int) -> None:
    unit, weight, labels = problem(sub_centers)
    check = lambda unit, weight: class_logits(unit, weight, labels, sub_centers, 5.0, chunk=4)  # noqa: E731
    assert torch.autograd.gradcheck(check, (unit, weight))


def test_labels_that_repeat_in_a_batch_add_up() -> None:
    unit, weight, _ = problem(2)
    labels = torch.tensor([4, 4, 4, 22, 4])
    found = gradients(class_logits(unit, weight, labels, 2, 30.0, chunk=5), unit, weight)
    expected = gradients(whole(unit, weight, labels, 2, 30.0), unit, weight)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_rows_that_repeat_are_summed_before_they_are_added_where_addition_has_no_order() -> None:
    """What CUDA gets; on a CPU it is held against index_add_."""
    rows, values = torch.tensor([4, 1, 4, 4, 0]), torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    matrix = torch.randn(6, 3, generator=generator(1), dtype=torch.float64)
    found = matrix.clone()
    found[rows] = found[rows] + core.summed_by_row(rows, values)
    core.add_rows(matrix, rows, values)
    torch.testing.assert_close(found, matrix)


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_the_same_step_twice_gives_the_same_bits(sub_centers: int) -> None:
    unit, weight, labels = problem(sub_centers, torch.float32, batch=32, classes=3000, dim=64)
    first, second = (class_logits(unit, weight, labels, sub_centers, 30.0) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, gradients(first, unit, weight), gradients(second, unit, weight)))


def test_nothing_of_batch_by_classes_is_kept_or_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(core.CHUNK_BYTES, "cpu", 1 << 18)
    batch, classes, dim = 256, 20_000, 4
    unit, weight, labels = problem(1, torch.float32, batch, classes, dim)
    sizes = []
    original = torch.Tensor.new_empty

    def recorded(tensor: torch.Tensor, *shape, **options) -> torch.Tensor:
        made = original(tensor, *shape, **options)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(torch.Tensor, "new_empty", recorded)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        target, others = class_logits(unit, weight, labels, 1, 30.0)
    (others - target).sum().backward()
    assert sizes
    assert max(sizes) < batch * classes / 20


def test_bf16_products_are_near_and_leave_pytorchs_setting_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    unit, weight, labels = problem(3, torch.float32, batch=64, classes=2000, dim=64)
    exact, fast = (class_logits(unit, weight, labels, 3, 30.0, precision=name) for name in ("fp32", "bf16"))
    assert torch.equal(exact[0], fast[0])  # the label's cosine is not among the products
    torch.testing.assert_close(exact[1], fast[1], rtol=0, atol=0.05)
    for a, b in zip(gradients(exact, unit, weight), gradients(fast, unit, weight), strict=True):
        assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99
    assert torch.get_float32_matmul_precision() == before
