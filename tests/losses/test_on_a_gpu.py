"""Losses on a GPU: the values, gradients and states of the CPU, the same bits each time, and no waiting."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from probe.losses import CosineSoftmax, Loss, build_loss
from tests.losses.kinds import COSINE, KINDS, configured

pytestmark = pytest.mark.cuda
CLASSES, DIM, BATCH = 600, 16, 48
WAITING = {"adacos"}  # its scale is a number of Python
Step = tuple[torch.Tensor, list[torch.Tensor], dict[str, torch.Tensor]]


def built(kind: str, device: torch.device, dtype: torch.dtype = torch.float32, **options: object) -> Loss:
    """The same on any device, though generators draw differently on each."""
    sizes = torch.arange(CLASSES) % 7 + 1
    config = configured(kind, **options)
    made = build_loss(config, sizes, DIM, torch.Generator().manual_seed(0))
    there = build_loss(config, sizes.to(device), DIM, torch.Generator(device).manual_seed(0))
    there.load_state_dict(made.state_dict())
    return there.to(dtype)


def batch(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Some labels come several times."""
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(BATCH, DIM, generator=generator).to(device, dtype).requires_grad_()
    return embeddings, torch.randint(0, CLASSES // 20, (BATCH,), generator=generator).to(device)


def step(loss: Loss, embeddings: torch.Tensor, labels: torch.Tensor) -> Step:
    value = loss(embeddings, labels)
    gradients = torch.autograd.grad(value, [embeddings, *loss.parameters()])
    return value.detach(), list(gradients), {name: each.clone() for name, each in loss.state_dict().items()}


def assert_near(found: Step, expected: Step, rtol: float, atol: float) -> None:
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=rtol, atol=atol)
    for name, value in expected[2].items():
        torch.testing.assert_close(found[2][name].cpu(), value, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_values_gradients_and_states_are_those_of_the_cpu(kind: str, cuda: torch.device) -> None:
    cpu = torch.device("cpu")
    for dtype, rtol, atol in ((torch.float64, 1e-9, 1e-11), (torch.float32, 1e-3, 1e-5)):
        expected = step(built(kind, cpu, dtype), *batch(cpu, dtype))
        assert_near(step(built(kind, cuda, dtype), *batch(cuda, dtype)), expected, rtol, atol)


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_classes_in_chunks_are_those_of_the_cpu(sub_centers: int, cuda: torch.device) -> None:
    cpu = torch.device("cpu")
    options = {"sub_centers": sub_centers}
    expected = step(built("sub-center-arcface", cpu, torch.float64, **options), *batch(cpu, torch.float64))
    there = built("sub-center-arcface", cuda, torch.float64, **options)
    assert isinstance(there, CosineSoftmax)
    there.chunk = 7
    assert_near(step(there, *batch(cuda, torch.float64)), expected, 1e-9, 1e-11)


@pytest.mark.parametrize("kind", COSINE)
def test_half_precision_is_near(kind: str, cuda: torch.device) -> None:
    full, half = (built(kind, cuda, precision=precision) for precision in ("fp32", "bf16"))
    expected, found = step(full, *batch(cuda)), step(half, *batch(cuda))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-2, atol=1e-3)
    for one, other in zip(found[1], expected[1], strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_step_twice_gives_the_same_bits(kind: str, cuda: torch.device) -> None:
    first, second = (step(built(kind, cuda), *batch(cuda)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert all(map(torch.equal, first[1], second[1]))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WAITING])
def test_a_step_does_not_wait_for_the_gpu(
    kind: str, cuda: torch.device, never_waiting: Callable[[], AbstractContextManager[None]]
) -> None:
    loss, data = built(kind, cuda), batch(cuda)
    step(loss, *data)  # the libraries load their kernels
    with never_waiting():
        step(loss, *data)
