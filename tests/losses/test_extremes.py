"""Embeddings and class centres of any length, scales from 1 to 200, one image, one class: finite, and the same loss."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from probe import losses
from probe.losses import LOSSES, build_loss
from probe.losses.cosine import CosineSoftmax
from tests.conftest import slow
from tests.losses.kinds import COSINE, configured

DIM = 8
SCALED = [kind for kind in COSINE if "scale" in LOSSES.find(kind).Config.model_fields]
SETTINGS = {kind: (kind, {"t_alpha": 1.0, "sub_centers": 3}) for kind in SCALED} | {
    "cosface, K = 2": ("cosface", {"sub_centers": 2}),
    "arcface, margin near π": ("arcface", {"margin": 3.1}),
    "sub-center, K = 4": ("sub-center-arcface", {"sub_centers": 4}),
}


def built(kind: str, classes: int, scale: float = 30.0, **options: object) -> CosineSoftmax:
    of, own = SETTINGS[kind]
    config = configured(of, **own | {"scale": scale} | options)
    loss = build_loss(config, torch.arange(1, classes + 1), DIM, torch.Generator().manual_seed(0))
    assert isinstance(loss, CosineSoftmax)
    return loss


def draw(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, DIM, generator=generator), torch.randint(0, classes, (images,), generator=generator)


@pytest.mark.parametrize("scales", [(200.0,), slow((1.0, 30.0, 64.0, 64.1, 200.0))], ids=["some", "all"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_every_scale_class_count_and_batch_is_finite_at_and_near_cosines_of_one(
    kind: str, scales: tuple[float, ...]
) -> None:
    for scale, classes, images in itertools.product(scales, (1, 2, 37), (1, 6)):
        loss = built(kind, classes, scale)
        loss.chunk = 7
        x, labels = draw(images, classes)
        centers = loss.weight.detach()[:classes][labels]
        for embeddings in (x, centers.clone(), -centers, centers * (1 + 1e-7) + 1e-7, centers * 1e6):
            embeddings = embeddings.clone().requires_grad_()
            loss.zero_grad()
            value = loss(embeddings, labels)
            value.backward()
            assert value >= 0
            for found in (value, embeddings.grad, loss.weight.grad):
                assert found is not None
                assert found.isfinite().all(), (scale, classes, images)


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "adaface"])  # whose margin follows the length
@pytest.mark.parametrize("factor", [1e-8, 1e-4, 1e4, 1e12])
def test_the_gradient_falls_as_the_length_grows_and_the_loss_stays(kind: str, factor: float) -> None:
    x, labels = draw(6, 37)
    usual, other = x.clone().requires_grad_(), (x * factor).requires_grad_()
    losses_ = [built(kind, 37), built(kind, 37)]
    values = [loss(embeddings, labels) for loss, embeddings in zip(losses_, (usual, other), strict=True)]
    for value in values:
        value.backward()
    assert usual.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other.grad * factor, usual.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(losses_[1].weight.grad, losses_[0].weight.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("kind", SETTINGS)
def test_the_length_of_the_class_matrix_does_not_change_the_loss(kind: str, factor: float) -> None:
    x, labels = draw(6, 37)
    usual, other = built(kind, 37), built(kind, 37)
    other.weight.data *= factor
    torch.testing.assert_close(other(x, labels), usual(x, labels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_state_that_is_saved_and_loaded_gives_the_same_bits(kind: str) -> None:
    x, labels = draw(16, 37)
    first, second = built(kind, 37), built(kind, 37)
    for step in range(3):
        first(x * (step + 1), labels)
    second.weight.data.normal_(generator=torch.Generator().manual_seed(9))
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    assert torch.equal(first(x, labels), second(x, labels))


@pytest.mark.parametrize("kind", SETTINGS)
def test_bf16_products_change_the_loss_by_little(kind: str) -> None:
    x, labels = draw(64, 300)
    exact, coarse = built(kind, 300), built(kind, 300, precision="bf16")
    torch.testing.assert_close(coarse(x, labels), exact(x, labels), rtol=0.02, atol=0)


@pytest.mark.parametrize("images", [1, 2, 5, 16])
def test_dynamic_adacos_is_the_equation_of_its_paper_where_no_median_is_ambiguous(images: int) -> None:
    classes = 11
    loss = build_loss(
        losses.AdaCos.Config(), torch.ones(classes).long(), DIM, torch.Generator().manual_seed(0)
    ).double()
    x, labels = draw(1, classes)
    x, labels = x.double().repeat(images, 1), labels.repeat(images)  # all angles are the median
    cosines = F.normalize(x, dim=1) @ F.normalize(loss.weight, dim=1).T
    before = 2**0.5 * torch.tensor(classes - 1.0, dtype=torch.float64).log()
    others = torch.ones_like(cosines).scatter(1, labels[:, None], 0)
    mean = ((before * cosines).exp() * others).sum(1).mean()
    angle = cosines[0, labels[0]].acos().clamp_max(torch.pi / 4)
    scale = (mean.log() / angle.cos()).clamp(before / 4, before * 4)
    torch.testing.assert_close(loss(x, labels), F.cross_entropy(scale * cosines, labels))
