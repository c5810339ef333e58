"""Every cosine loss against its paper's formula in float64, on batches made to hit the places where it breaks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from probe import losses
from probe.losses import LOSSES, build_loss
from probe.losses.cosine import CosineSoftmax
from tests.conftest import examples, quick
from tests.losses.kinds import COSINE, KINDS, configured
from tests.losses.papers import FORMULAS, cosines, paper_of, value_and_gradients

SCALES = st.sampled_from([0.5, 16.0, 30.0, 64.0, 65.0, 128.0])
MARGINS = st.one_of(st.sampled_from([0.0, 0.5, 3.0]), st.floats(0, 3.1))
CENTERS = st.integers(1, 4)
DYNAMIC = st.one_of(
    st.builds(losses.CosineMargins), st.builds(losses.PowerMargins, exponent=st.sampled_from([0.25, 1.0]))
)
CONFIGS = {
    "normalised-softmax": st.builds(losses.NormalisedSoftmax.Config, scale=SCALES),
    "cosface": st.builds(losses.CosFace.Config, scale=SCALES, margin=st.floats(0, 2), sub_centers=CENTERS),
    "arcface": st.builds(losses.ArcFace.Config, scale=SCALES, margin=MARGINS),
    "sub-center-arcface": st.builds(losses.SubCenterArcFace.Config, scale=SCALES, margin=MARGINS, sub_centers=CENTERS),
    "dynamic-arcface": st.builds(losses.DynamicArcFace.Config, scale=SCALES, margins=DYNAMIC, sub_centers=CENTERS),
    "li-arcface": st.builds(losses.LiArcFace.Config, scale=SCALES, margin=MARGINS),
    "adacos": st.builds(losses.AdaCos.Config, dynamic=st.booleans()),
    "curricularface": st.builds(
        losses.CurricularFace.Config, scale=SCALES, margin=st.floats(0.05, 3.1), t_alpha=st.floats(0.01, 1)
    ),
    "adaface": st.builds(losses.AdaFace.Config, scale=SCALES, margin=st.floats(0, 1.5), h=st.floats(0.1, 3)),
}


def test_every_loss_has_its_papers_formula_here():
    """And settings to hold it against; the plain softmax, whose logits are no cosines, has a test of its own below."""
    missing = sorted(set(KINDS) - {*FORMULAS, "softmax"})
    assert not missing, f"write the formula of {missing} in tests/losses/papers.py"
    unset = sorted(set(FORMULAS) - set(CONFIGS))
    assert not unset, f"write the settings of {unset} that its formula is held against in CONFIGS"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def problems(draw: st.DrawFn, centers: int):
    """Embeddings, labels, weight, class sizes and chunk; some cosines are exactly ±1, some sub-centres tie."""
    seed = draw(st.integers(0, 2**32 - 1))
    batch, classes, dim = draw(st.integers(1, 6)), draw(st.integers(3, 9)), draw(st.integers(2, 5))
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((centers, classes, dim))
    aligned = draw(st.booleans())
    if aligned:  # along the axes, so that cosines of ±1 and ties are exact
        weight = np.eye(dim)[rng.integers(0, dim, (centers, classes))] * rng.choice([-2.0, 1.0], (centers, classes, 1))
    labels = rng.integers(0, classes, batch)
    x = rng.standard_normal((batch, dim)) * draw(st.sampled_from([1e-2, 1.0, 50.0]))
    for i in range(batch):
        center = weight[rng.integers(centers), labels[i]]
        match rng.integers(4):
            case 0 if aligned:
                x[i] = 4 * center
            case 1 if aligned:
                x[i] = -0.5 * center
            case 2:  # near the other end of the angle, where a margin wraps around
                x[i] = -center + 0.1 * rng.standard_normal(dim)
    sizes = rng.integers(1, draw(st.sampled_from([2, 300])), classes).tolist()
    return x, labels, weight.reshape(-1, dim), sizes, draw(st.integers(1, classes + 2))


def module(config: losses.LossConfig, weight: np.ndarray, sizes: list[int], chunk: int | None) -> CosineSoftmax:
    loss = build_loss(config, torch.tensor(sizes), weight.shape[1], generator()).double()
    assert isinstance(loss, CosineSoftmax)
    loss.chunk = chunk
    with torch.no_grad():
        loss.weight.copy_(torch.from_numpy(weight))
    if "margins" in dict(loss.named_buffers()):  # float32 as built; the formula's are float64
        loss.margins = loss.margins.float().double()
    return loss


def found_gradients(loss: CosineSoftmax, x: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    embeddings = torch.from_numpy(x).requires_grad_()
    value = loss(embeddings, torch.from_numpy(labels))
    gradients = torch.autograd.grad(value, [embeddings, loss.weight])
    return value.item(), gradients[0].numpy(), gradients[1].numpy()


@pytest.mark.parametrize("kind", COSINE)
@given(data=st.data())
@examples(20, 150)
def test_value_and_gradients_equal_the_papers_formula(kind: str, data: st.DataObject) -> None:
    config = data.draw(CONFIGS[kind])
    centers = config.centers
    x, labels, weight, sizes, chunk = data.draw(problems(centers))
    cosine = np.abs(cosines(x, weight, centers)[0])
    assume(bool(((cosine == 1) | (cosine < 1 - 1e-6)).all()))  # between, float64 does not resolve the angle to 1e-8
    loss = module(config, weight, sizes, chunk)
    expected = value_and_gradients(paper_of(config, x, labels, weight, sizes), x, labels, weight, centers)
    tolerance = 1e-6 if kind == "dynamic-arcface" else 1e-8  # its margins are float32
    for found, wanted in zip(found_gradients(loss, x, labels), expected, strict=True):
        np.testing.assert_allclose(
            found, wanted, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(wanted).max()))
        )


def configuration(kind: str, **options: object) -> losses.LossConfig:
    """The kind's defaults, with sub-centres where it has them."""
    return configured(kind, sub_centers=3, **options)


@pytest.mark.parametrize("kind", COSINE)
def test_float32_is_within_rounding_of_the_papers_formula(kind: str) -> None:
    config, sizes = configuration(kind), [*range(1, 201)]
    loss = build_loss(config, torch.tensor(sizes), 32, generator())
    assert isinstance(loss, CosineSoftmax)
    loss.chunk = 37
    x = torch.randn(16, 32, generator=generator(1)).requires_grad_()
    labels = torch.arange(16) * 12
    value = loss(x, labels)
    found = [value.item(), *torch.autograd.grad(value, [x, loss.weight])]
    arrays = x.detach().double().numpy(), labels.numpy(), loss.weight.detach().double().numpy()
    expected = value_and_gradients(paper_of(config, *arrays, sizes), *arrays, loss.sub_centers)
    for a, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, wanted, rtol=1e-4, atol=1e-5 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("kind", quick(COSINE, 3))
def test_gradients_pass_gradcheck_away_from_kinks(kind: str) -> None:
    loss = build_loss(configuration(kind, scale=4.0), torch.arange(1, 8), 6, generator()).double()
    assert isinstance(loss, CosineSoftmax)  # differences of small logits stay exact enough
    x = torch.randn(5, 6, generator=generator(1), dtype=torch.float64)
    labels = torch.tensor([0, 6, 3, 3, 1])
    loss(x, labels)  # sets the statistics, which have no gradient
    loss.eval()
    loss.chunk = 3

    def value(unit: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return torch.func.functional_call(loss, {"weight": weight}, (F.normalize(unit) * length, labels))

    assert torch.autograd.gradcheck(value, (x.clone().requires_grad_(), loss.weight.detach().requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", COSINE)
def test_target_cosines_of_exactly_one_and_up_to_rounding_have_finite_values_and_gradients(
    kind: str, sign: int, dtype: torch.dtype
) -> None:
    loss = build_loss(configuration(kind), torch.ones(400, dtype=torch.int64), 64, generator()).to(dtype)
    with torch.no_grad():
        loss.weight[0], loss.weight[1] = torch.eye(64, dtype=dtype)[:2]
    centres, labels = loss.weight.detach()[:400], torch.arange(400)
    for x in (sign * 3 * centres, sign * centres + 1e-7):
        x.requires_grad_()
        value = loss(x, labels)
        value.backward()
        assert value.isfinite()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert loss.weight.grad is not None
        assert loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", [kind for kind in COSINE if LOSSES.find(kind).Config.least_classes == 1])
def test_a_single_class_has_loss_and_gradients_zero(kind: str) -> None:
    loss = build_loss(configuration(kind), torch.tensor([4]), 6, generator())
    x = torch.randn(4, 6, generator=generator(1)).requires_grad_()
    value = loss(x, torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert value == 0
    assert x.grad is not None
    assert not x.grad.any()
    assert loss.weight.grad is not None
    assert not loss.weight.grad.any()


@pytest.mark.parametrize("bias", [True, False])
def test_the_plain_softmax_is_the_cross_entropy_of_a_linear_layer(bias: bool) -> None:
    loss = build_loss(losses.Softmax.Config(bias=bias), torch.ones(7, dtype=torch.int64), 5, generator()).double()
    x = torch.randn(4, 5, generator=generator(1), dtype=torch.float64)
    labels = [6, 0, 2, 2]
    state = {name: value.detach().numpy() for name, value in loss.named_parameters()}
    assert set(state) == ({"weight", "bias"} if bias else {"weight"})
    expected = 0.0
    for row, label in zip(x.numpy(), labels, strict=True):
        logits = [float(row @ w) for w in state["weight"]]
        logits = [a + b for a, b in zip(logits, state["bias"], strict=True)] if bias else logits
        expected += (math.log(sum(map(math.exp, logits))) - logits[label]) / 4
    assert loss(x, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: loss(x, torch.tensor(labels)), (x.requires_grad_(),))
