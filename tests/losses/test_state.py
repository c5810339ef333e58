"""What a loss learns beside its class matrix: in the state, the same bits after a resume, untouched in evaluation."""

import io
import math

import pytest
import torch
from torch import nn

from probe import losses
from probe.errors import ProbeError
from probe.losses import build_loss
from tests.losses.kinds import KINDS, configured

SIZES, DIM, BATCH = torch.arange(1, 41), 8, 16
CONFIGS = [
    *(configured(kind) for kind in KINDS),
    losses.CosFace.Config(sub_centers=2),
    losses.DynamicArcFace.Config(margins=losses.PowerMargins(), sub_centers=3),
    losses.AdaCos.Config(dynamic=False),
]
ids = [config.kind for config in CONFIGS]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Training:
    """A head and a loss that learn from random batches; step n always sees the same one."""

    def __init__(self, config: losses.LossConfig) -> None:
        self.loss = build_loss(config, SIZES, DIM, generator())
        self.head = nn.Parameter(torch.randn(12, DIM, generator=generator(1)))
        self.optimizer = torch.optim.Adam([self.head, *self.loss.parameters()], lr=1e-2, weight_decay=1e-4)

    def steps(self, numbers: range) -> "Training":
        for number in numbers:
            images = torch.randn(BATCH, 12, generator=generator(100 + number))
            value = self.loss(images @ self.head, torch.randint(0, len(SIZES), (BATCH,), generator=generator(number)))
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
        return self

    def save(self) -> io.BytesIO:
        file = io.BytesIO()
        states = {"loss": self.loss.state_dict(), "head": self.head.data, "optimizer": self.optimizer.state_dict()}
        torch.save(states, file)
        file.seek(0)
        return file

    def load(self, file: io.BytesIO) -> "Training":
        states = torch.load(file, weights_only=True)
        self.loss.load_state_dict(states["loss"])
        self.head.data.copy_(states["head"])
        self.optimizer.load_state_dict(states["optimizer"])
        return self

    @property
    def bits(self) -> list[torch.Tensor]:
        return [self.head.detach(), *self.loss.state_dict().values()]


@pytest.mark.parametrize("config", CONFIGS, ids=ids)
def test_a_resumed_training_ends_in_the_same_bits_as_an_undisturbed_one(config: losses.LossConfig) -> None:
    undisturbed = Training(config).steps(range(12))
    halfway = Training(config).steps(range(5)).save()
    resumed = Training(config).load(halfway).steps(range(5, 12))
    assert all(map(torch.equal, undisturbed.bits, resumed.bits))
    assert not all(map(torch.equal, Training(config).steps(range(5, 12)).bits, resumed.bits))


@pytest.mark.parametrize("config", CONFIGS, ids=ids)
def test_evaluation_leaves_the_state_as_it_was(config: losses.LossConfig) -> None:
    training = Training(config).steps(range(3))
    before = [value.clone() for value in training.bits]
    training.loss.eval()
    training.loss(torch.randn(4, DIM, generator=generator(7)), torch.tensor([0, 1, 2, 3]))
    assert all(map(torch.equal, before, training.bits))


def test_the_state_names_what_each_loss_keeps() -> None:
    kept = {config.kind: set(build_loss(config, SIZES, DIM, generator()).state_dict()) for config in CONFIGS}
    extra = {kind: names - {"weight"} for kind, names in kept.items() if names != {"weight"}}
    assert extra == {
        "softmax": {"bias"},
        "dynamic-arcface": {"margins"},
        "adacos": {"dynamic_scale"},
        "curricularface": {"t"},
        "adaface": {"mean", "deviation"},
    }


def test_curricularfaces_t_is_a_running_mean_of_target_cosines_moved_before_use() -> None:
    loss = build_loss(losses.CurricularFace.Config(), SIZES, DIM, generator())
    labels = torch.tensor([3, 9])
    centres = loss.weight.detach()[labels]
    loss(centres, labels)  # cosines of 1
    assert loss.t == pytest.approx(0.01)
    loss(-centres, labels)
    assert loss.t == pytest.approx(0.99 * 0.01 - 0.01)


def test_adafaces_first_batch_sets_the_statistics_and_later_ones_move_them() -> None:
    loss = build_loss(losses.AdaFace.Config(t_alpha=0.1), SIZES, DIM, generator())
    axis, labels = torch.eye(DIM)[:2], torch.tensor([0, 1])
    loss(axis * torch.tensor([[1.0], [3.0]]), labels)
    assert loss.mean == pytest.approx(2)
    assert loss.deviation == pytest.approx(math.sqrt(2))
    loss(axis * torch.tensor([[4.0], [4.0]]), labels)
    assert loss.mean == pytest.approx(2.2)
    assert loss.deviation == pytest.approx(0.9 * math.sqrt(2))
    loss(axis[:1] * 12, labels[:1])  # one image has no deviation
    assert loss.mean == pytest.approx(0.9 * 2.2 + 1.2)
    assert loss.deviation == pytest.approx(0.9 * math.sqrt(2))


def test_adafaces_released_statistics_are_those_of_the_batch_alone() -> None:
    loss = build_loss(losses.AdaFace.Config(t_alpha=1.0), SIZES, DIM, generator())
    for length in (1.0, 5.0):
        loss(torch.eye(DIM)[:2] * length * torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    assert loss.mean == pytest.approx(7.5)
    assert loss.deviation == pytest.approx(5 / math.sqrt(2))


@pytest.mark.parametrize("lengths", [[2.0], [2.0, 2.0]])
def test_adaface_starts_with_a_batch_without_spread(lengths: list[float]) -> None:
    loss = build_loss(losses.AdaFace.Config(), SIZES, DIM, generator())
    x = torch.tensor(lengths)[:, None] * torch.eye(DIM)[: len(lengths)]
    assert loss(x, torch.arange(len(lengths))).isfinite()


def test_adacos_scale_stays_in_its_range_when_all_cosines_collapse() -> None:
    loss = build_loss(losses.AdaCos.Config(), SIZES, DIM, generator())
    with torch.no_grad():
        loss.weight.copy_(torch.eye(DIM)[0].expand_as(loss.weight))
    for _ in range(50):
        assert loss(torch.eye(DIM)[:1], torch.tensor([0])).isfinite()
    assert loss.dynamic_scale == pytest.approx(4 * math.sqrt(2) * math.log(len(SIZES) - 1))


@pytest.mark.parametrize("classes", [1, 2])
def test_adacos_of_too_few_classes_is_refused(classes: int) -> None:
    with pytest.raises(ProbeError, match="at least 3 classes"):
        build_loss(losses.AdaCos.Config(), torch.ones(classes, dtype=torch.int64), DIM, generator())
