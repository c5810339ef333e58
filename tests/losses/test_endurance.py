"""Thousands of steps at extreme settings (thirty in `make test`), and UnED's 316,446 classes in bounded memory."""

import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from probe.losses import LOSSES, build_loss
from tests.conftest import slow
from tests.losses.kinds import KINDS

NEAR_PI = math.pi - 1e-3
HARDEST = {
    "softmax": {},
    "normalised-softmax": {"scale": 128.0},
    "cosface": {"scale": 128.0, "margin": 2.0, "sub_centers": 3},
    "arcface": {"scale": 128.0, "margin": NEAR_PI},
    "sub-center-arcface": {"scale": 128.0, "margin": NEAR_PI, "sub_centers": 4},
    "dynamic-arcface": {
        "scale": 128.0,
        "margins": {"kind": "power", "least": 0.0, "most": NEAR_PI, "exponent": 4.0},
        "sub_centers": 2,
    },
    "li-arcface": {"scale": 128.0, "margin": NEAR_PI},
    "adacos": {"dynamic": True},
    "curricularface": {"scale": 128.0, "margin": NEAR_PI, "t_alpha": 1.0},
    "adaface": {"scale": 128.0, "margin": 1.57, "h": 100.0, "t_alpha": 1.0},
}
OTHERS = [
    ("normalised-softmax", {"scale": 1.0}),
    ("cosface", {"scale": 1.0, "margin": 2.0}),
    ("arcface", {"scale": 1.0, "margin": NEAR_PI}),
    ("sub-center-arcface", {"scale": 128.0, "margin": 0.0}),
    ("li-arcface", {"scale": 1.0, "margin": NEAR_PI}),
    ("adacos", {"dynamic": False}),
    ("curricularface", {"scale": 1.0, "margin": 0.0}),
    ("adaface", {"scale": 1.0}),
]


def test_the_hardest_settings_of_every_loss_are_here() -> None:
    assert HARDEST.keys() == set(KINDS), "write the extremes of its options in HARDEST"


@pytest.mark.parametrize("steps", [30, slow(2_000)])
@pytest.mark.parametrize(("kind", "options"), HARDEST.items())
def test_thousands_of_steps_stay_finite(kind: str, options: dict, steps: int) -> None:
    train(kind, options, steps)


@pytest.mark.parametrize("steps", [30, slow(500)])
@pytest.mark.parametrize(("kind", "options"), OTHERS)
def test_training_stays_finite_at_the_other_end_of_the_settings_too(kind: str, options: dict, steps: int) -> None:
    train(kind, options, steps)


def train(kind: str, options: dict, steps: int) -> None:
    """Few images that the head fits perfectly, so that cosines reach 1; a class of one image; batches of 1 to 4."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 6, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    loss = build_loss(LOSSES.find(kind).Config.model_validate(options), torch.bincount(labels), 4, generator)
    head = nn.Parameter(torch.randn(6, 4, generator=generator))
    optimizer = torch.optim.Adam([head, *loss.parameters()], lr=1e-2, weight_decay=1e-4, fused=True)
    for step in range(steps):
        rows = torch.randperm(7, generator=generator)[: 1 + step % 4]
        value = loss(images[rows] @ head, labels[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert math.isfinite(value.item()), step
    assert all(value.isfinite().all() for value in [head, *loss.state_dict().values()])


UNED = """
import json, resource, torch
from probe.losses import ArcFace, build_loss
generator = torch.Generator().manual_seed(0)
loss = build_loss(ArcFace.Config(), torch.ones(316_446, dtype=torch.int64), 64, generator)
optimizer = torch.optim.Adam(loss.parameters(), fused=True)
values = []
x, labels = torch.randn(128, 64, generator=generator), torch.randint(0, 316_446, (128,), generator=generator)
for _ in range(4):
    value = loss(x, labels)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    values.append(value.item())
print(json.dumps([values, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


@pytest.mark.slow
def test_the_classes_of_uned_train_within_six_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", UNED], capture_output=True, text=True, check=True)
    values, peak = json.loads(done.stdout)
    assert values == sorted(values, reverse=True)
    assert peak < 6e9
