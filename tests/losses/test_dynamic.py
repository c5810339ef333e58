import math

import pytest
import torch

from probe import losses
from probe.errors import ProbeError
from probe.losses import build_loss

SIZES = torch.tensor([100, 3, 51, 3, 10])


def test_the_cosine_wave_runs_from_the_rarest_class_to_the_most_frequent() -> None:
    margins = losses.CosineMargins(least=0.2, most=0.6).of(SIZES)
    middle = 0.4 + 0.2 * math.cos(math.pi * 48 / 97)
    near_rare = 0.4 + 0.2 * math.cos(math.pi * 7 / 97)
    torch.testing.assert_close(margins, torch.tensor([0.2, 0.6, middle, 0.6, near_rare]))


def test_the_power_law_runs_from_the_rarest_class_to_the_most_frequent() -> None:
    margins = losses.PowerMargins().of(SIZES)
    a = 0.445 / (3**-0.25 - 100**-0.25)
    b = 0.45 - a * 3**-0.25
    torch.testing.assert_close(margins, torch.tensor([a * n**-0.25 + b for n in SIZES.tolist()]))
    assert margins[1] == pytest.approx(0.45)
    assert margins[0] == pytest.approx(0.005)


@pytest.mark.parametrize("config", [losses.CosineMargins(), losses.PowerMargins()])
def test_classes_of_one_size_all_get_the_largest_margin(config: losses.SizeMargins) -> None:
    assert config.of(torch.tensor([7, 7, 7])).tolist() == pytest.approx([config.most] * 3)


def test_margins_follow_labels_and_not_the_order_of_images() -> None:
    labels = torch.tensor([2, 0, 0, 1, 0, 2])
    built = build_loss(losses.DynamicArcFace.Config(), torch.bincount(labels), 4, torch.Generator().manual_seed(0))
    margins = built.state_dict()["margins"]
    assert margins[1] == pytest.approx(0.5)
    assert margins[0] == pytest.approx(0.2)


def test_a_class_without_images_is_named() -> None:
    with pytest.raises(ProbeError, match="class 1 has no training image"):
        losses.CosineMargins().of(torch.tensor([3, 0, 2]))


def test_least_above_most_is_refused() -> None:
    with pytest.raises(ValueError, match=r"margins.least \(0.6\) is above margins.most \(0.5\)"):
        losses.CosineMargins(least=0.6)
