"""Where class matrices start: PyTorch's own draws, the published root mean squares, and the same bits as ever."""

import math
from typing import get_args

import pytest
import torch
from torch import nn

from probe.losses import ClassInit, build_loss, class_matrix
from tests.losses.kinds import COSINE, KINDS, configured

SHAPES = [(7, 64), (196, 64), (196 * 3, 64), (30_000, 64), (1000, 512)]
shaped = pytest.mark.parametrize(("rows", "dim"), SHAPES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pytorchs(init: ClassInit, rows: int, dim: int) -> torch.Tensor:
    """By `torch.nn.init`, whose uniform draws are of the same random numbers."""
    weight = torch.empty(rows, dim)
    if init == "xavier":
        return nn.init.xavier_uniform_(weight, generator=generator())
    if init == "linear":
        return nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator())  # nn.Linear.reset_parameters
    return nn.init.kaiming_uniform_(weight, nonlinearity="linear", generator=generator())  # LeCun's


@shaped
@pytest.mark.parametrize("init", ["xavier", "linear", "lecun-uniform"])
def test_a_uniform_start_is_pytorchs_for_any_number_of_centres(init: ClassInit, rows: int, dim: int) -> None:
    torch.testing.assert_close(class_matrix(init, rows, dim, generator()), pytorchs(init, rows, dim))


@pytest.mark.parametrize(
    ("init", "rows", "dim", "published"),
    [
        ("lecun-uniform", 78, 64, 0.125),  # UnED's classifier of CARS196
        ("lecun-uniform", 73_182, 64, 0.125),  # of GLDv2
        ("linear", 10_000, 512, 0.0255),  # ILIAS
        ("xavier", 78, 64, 0.119),
        ("xavier", 73_182, 64, 0.00523),
        ("xavier", 3 * 34_800, 64, 0.00438),  # UniFEx's Sub-Center ArcFace
    ],
)
def test_root_mean_squares_are_the_published(init: ClassInit, rows: int, dim: int, published: float) -> None:
    weight = class_matrix(init, rows, dim, generator())
    assert float(weight.square().mean().sqrt()) == pytest.approx(published, rel=0.02)


@shaped
def test_a_unit_start_has_unit_rows_in_every_direction(rows: int, dim: int) -> None:
    weight = class_matrix("unit", rows, dim, generator()).double()
    assert (weight.square().sum(1).sqrt() - 1).abs().max() < 1e-6
    sums = math.sqrt(rows / dim)  # of uniform unit rows, each coordinate's sum deviates by sqrt(n / d)
    assert weight.sum(0).abs().max() < 5 * sums
    assert float(weight.square().mean(0).std() * dim) < 4 / math.sqrt(rows), "no coordinate is favoured"


@pytest.mark.parametrize("init", get_args(ClassInit))
@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_starts_as_it_is_told_to(kind: str, init: ClassInit) -> None:
    config = configured(kind, init=init)
    loss = build_loss(config, torch.ones(40).long(), 16, generator())
    assert torch.equal(loss.weight.detach(), class_matrix(init, 40 * max(config.centers, 1), 16, generator()))


@pytest.mark.parametrize("kind", KINDS)
def test_without_being_told_the_bits_are_those_of_before_there_was_a_choice(kind: str) -> None:
    config = configured(kind)
    rows = 40 * max(config.centers, 1)
    bound = math.sqrt(6 / (16 + rows)) if kind in COSINE else 1 / math.sqrt(16)
    draw = torch.rand(rows, 16, generator=generator())
    loss = build_loss(config, torch.ones(40).long(), 16, generator())
    assert torch.equal(loss.weight.detach(), (draw * 2 - 1) * bound)
