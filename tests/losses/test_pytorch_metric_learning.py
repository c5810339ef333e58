"""Agreement with pytorch-metric-learning, which writes margins in degrees and sub-centres class-major."""

import math

import numpy as np
import pytest
import torch

from probe import losses
from probe.losses import build_loss

peer = pytest.importorskip("pytorch_metric_learning.losses")

CLASSES, DIM, BATCH = 150, 16, 32
PAIRS = {
    "arcface": (
        losses.ArcFace.Config(margin=0.5),
        lambda **size: peer.ArcFaceLoss(margin=math.degrees(0.5), scale=30, **size),
    ),
    "sub-center-arcface": (
        losses.SubCenterArcFace.Config(margin=0.3, scale=64, sub_centers=4),
        lambda **size: peer.SubCenterArcFaceLoss(margin=math.degrees(0.3), scale=64, sub_centers=4, **size),
    ),
    "cosface": (losses.CosFace.Config(margin=0.35), lambda **size: peer.CosFaceLoss(margin=0.35, scale=30, **size)),
    "normalised-softmax": (
        losses.NormalisedSoftmax.Config(),
        lambda **size: peer.NormalizedSoftmaxLoss(temperature=1 / 16, **size),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_value_and_gradients_agree(kind: str) -> None:
    config, make = PAIRS[kind]
    generator = torch.Generator().manual_seed(0)
    ours = build_loss(config, torch.ones(CLASSES, dtype=torch.int64), DIM, generator)
    theirs = make(num_classes=CLASSES, embedding_size=DIM)
    centers = len(ours.weight) // CLASSES
    with torch.no_grad():  # (K, C, d) -> (d, C * K)
        theirs.W.copy_(ours.weight.view(centers, CLASSES, DIM).transpose(0, 1).reshape(-1, DIM).T)
    x = (3 * torch.randn(BATCH, DIM, generator=generator)).requires_grad_()
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    with torch.no_grad():  # some past the margin's wrap-around
        x[:8] = -2 * ours.weight[labels[:8]] + 0.02 * x[:8]
    found, wanted = ours(x, labels), theirs(x, labels)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    x_found, weight_found = torch.autograd.grad(found, [x, ours.weight])
    x_wanted, weight_wanted = torch.autograd.grad(wanted, [x, theirs.W])
    weight_wanted = weight_wanted.T.view(CLASSES, centers, DIM).transpose(0, 1).reshape(-1, DIM)
    for a, b in ((x_found, x_wanted), (weight_found, weight_wanted)):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()))
