"""What is known of a loss before it is built is true of the module, and every loss is on its page."""

import re
from pathlib import Path

import pytest
import torch

from probe.losses import build_loss
from tests.losses.kinds import KINDS, configured

CLASSES, DIM = 5, 7


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_weights_are_those_of_the_module(kind: str) -> None:
    config = configured(kind)
    loss = build_loss(config, torch.ones(CLASSES).long(), DIM, torch.Generator())
    assert config.weights(CLASSES, DIM) == sum(weight.numel() for weight in loss.parameters())


def test_a_class_has_so_many_centers(kind: str) -> None:
    config = configured(kind)
    loss = build_loss(config, torch.ones(CLASSES).long(), DIM, torch.Generator())
    if config.centers == 1:
        assert loss.class_centers.shape == (CLASSES, DIM)
    else:
        with pytest.raises((ValueError, NotImplementedError)):
            _ = loss.class_centers


def test_the_least_number_of_classes_is_enough(kind: str) -> None:
    least = configured(kind).least_classes
    loss = build_loss(configured(kind), torch.ones(least).long(), DIM, torch.Generator())
    assert loss(torch.randn(4, DIM, generator=torch.Generator()), torch.arange(4) % least).isfinite()


def test_it_is_in_the_table_of_its_page(kind: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "losses.md").read_text()
    assert re.search(rf"^\| `{kind}` \|", page, flags=re.MULTILINE)
