"""What the cut of cosines to ±0.999, which the released AdaFace has and this one has not, does to the loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from probe.losses import AdaFace, build_loss

CLASSES, SCALE, MARGIN, H, QUALITY = 256, 8.0, 0.5, 0.333, -0.7


def of_the_released_code(cosines: torch.Tensor, cut: float) -> float:
    """Of (C,) cosines, the first of which is the label's; `cut` is its eps, 0 for none."""
    cosines = cosines.double().clamp(cut - 1, 1 - cut)
    angle = (cosines[:1].acos() - MARGIN * QUALITY).clamp(cut, math.pi - cut)
    logits = torch.cat([angle.cos() - MARGIN - MARGIN * QUALITY, cosines[1:]]) * SCALE
    return float(F.cross_entropy(logits[None], torch.tensor([0])))


def test_on_its_centre_an_embedding_loses_038_where_the_released_code_has_042() -> None:
    loss = build_loss(
        AdaFace.Config(margin=MARGIN, scale=SCALE, h=H), torch.ones(CLASSES).long(), CLASSES, torch.Generator()
    )
    assert isinstance(loss, AdaFace)
    loss.weight.data.copy_(torch.eye(CLASSES))
    loss.deviation.fill_(1.0)
    loss.mean.fill_(1 - QUALITY * (1 + 1e-3) / H)
    found = loss.eval()(torch.eye(CLASSES)[:1], torch.tensor([0])).item()
    cosines = torch.eye(CLASSES)[0]
    assert found == pytest.approx(of_the_released_code(cosines, 0.0), rel=1e-5)
    assert (round(found, 2), round(of_the_released_code(cosines, 1e-3), 2)) == (0.38, 0.42)
