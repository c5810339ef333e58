"""A run is UniFEx's loop, written out here in float64 with Adam by hand; and it goes on with the same bits whatever
its loss and head keep beside their weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from probe import heads, losses
from probe.extract.features import CachedFeatures
from probe.fit import EpochRecord, FitData, Fitted, TrainedConfig, Trainer, Training, fit
from probe.fit.samplers import Order
from probe.runs.checkpoint import RunCheckpoint
from tests.conftest import slow
from tests.fit.world import BACKBONE, CPU, PLENTY

EPOCHS, BATCH, LR, LEAST, DECAY, SCALE = 3, 52, 0.05, 1e-3, 1e-2, 16.0  # 240 images: the last batch has 32


def adam(weight: torch.Tensor, state: dict[str, Any], step: int, rate: float) -> None:
    """Kingma and Ba's algorithm 1 with the L2 term in the gradient."""
    assert weight.grad is not None
    gradient = weight.grad + DECAY * weight.detach()
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * gradient**2
    m, v = state["m"] / (1 - 0.9 ** (step + 1)), state["v"] / (1 - 0.999 ** (step + 1))
    weight.data -= rate * m / (v.sqrt() + 1e-8)
    weight.grad = None


def test_a_whole_run_is_the_loop_of_the_protocol(cached: CachedFeatures) -> None:
    training = Training(epochs=EPOCHS, batch=BATCH, lr=LR, lr_min=LEAST, weight_decay=DECAY)
    config = TrainedConfig(
        backbone=BACKBONE,
        head=heads.Linear.Config(dim=8, dropout=0),
        loss=losses.NormalisedSoftmax.Config(scale=SCALE),
        training=training,
        seed=3,
    )
    data = FitData(cached, CPU, PLENTY)
    trainer = Trainer(config, data)
    start = {**trainer.head.state_dict(), "classes": trainer.objective.state_dict()["classifiers.0.weight"]}
    w, b, classes = (start[name].double().clone().requires_grad_() for name in ("weight", "bias", "classes"))
    features, images = data.train.take(torch.arange(len(data.train)).numpy()).double(), len(data.train)
    steps = math.ceil(images / BATCH)
    states: list[dict[str, Any]] = [{}, {}, {}]
    means = []
    for epoch in range(EPOCHS):
        order = torch.from_numpy(Order(images, seed=3).of_pass(epoch))
        assert order.sort().values.equal(torch.arange(images))
        total = 0.0
        for n, rows in enumerate(order.split(BATCH)):
            step = epoch * steps + n
            wave = (1 + math.cos(math.pi * step / (EPOCHS * steps))) / 2
            rate = (LEAST + (LR - LEAST) * wave) * min(1, (step + 1) / steps)
            embeddings = features[rows] @ w.T + b
            unit, centers = (x / x.norm(dim=1, keepdim=True) for x in (embeddings, classes))
            loss = torch.nn.functional.cross_entropy(SCALE * unit @ centers.T, data.labels[rows])
            loss.backward()
            total += float(loss.detach()) * len(rows)
            for weight, state in zip((w, b, classes), states, strict=True):
                adam(weight, state, step, rate)
        means.append(total / images)
    trainer.run(lambda images: None, lambda record: None)
    assert [record.loss for record in trainer.history] == pytest.approx(means, rel=1e-4)
    torch.testing.assert_close(trainer.head.state_dict()["weight"].double(), w.detach(), rtol=0, atol=1e-3)
    torch.testing.assert_close(trainer.head.state_dict()["bias"].double(), b.detach(), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        trainer.objective.state_dict()["classifiers.0.weight"].double(), classes.detach(), rtol=0, atol=1e-3
    )


class StoppedError(Exception):
    pass


STATEFUL = {
    "adacos": losses.AdaCos.Config(),
    "curricularface": losses.CurricularFace.Config(),
    "adaface": losses.AdaFace.Config(),
    "li-arcface": losses.LiArcFace.Config(),
    "dynamic": losses.DynamicArcFace.Config(sub_centers=2),
    "softmax": losses.Softmax.Config(),
}
HEADS = {
    "linear": heads.Linear.Config(dim=8),
    "batch norm, pca": heads.BatchNormLinear.Config(dim=4, hidden=16),
    "batch norm, pooling": heads.BatchNormLinear.Config(dim=4, hidden=16, reduction="average-pooling"),
}


PAIRS = [(loss, head) for loss in STATEFUL for head in HEADS]
QUICK = [(loss, head) for loss, head in PAIRS if (loss == "adacos") != (head == "linear")]  # each loss, and each head


@pytest.mark.parametrize(("loss", "head"), [*QUICK, *(slow(*pair) for pair in PAIRS if pair not in QUICK)])
def test_it_goes_on_with_the_same_bits_whatever_its_loss_and_head_keep(
    loss: str, head: str, cached: CachedFeatures, tmp_path: Path
) -> None:
    training = Training(epochs=3, batch=49, lr=0.05)  # 240 images: the last batch has 44
    config = TrainedConfig(backbone=BACKBONE, head=HEADS[head], loss=STATEFUL[loss], training=training)
    data = FitData(cached, CPU, PLENTY)
    whole = fit(config, data)
    found: Fitted | None = None
    for stop in (1, 2, None):  # interrupted after each epoch

        def on_epoch(record: EpochRecord, stop: int | None = stop) -> None:
            if record.epoch == stop:
                raise StoppedError

        try:
            found = fit(config, data, RunCheckpoint(tmp_path, "k"), on_epoch=on_epoch)
        except StoppedError:
            assert stop is not None
    assert found is not None
    assert found.history == whole.history
    assert found.scores == whole.scores
    for name, value in whole.head.state_dict().items():
        assert torch.equal(value, found.head.state_dict()[name]), name
    for name, value in whole.loss_state.items():
        assert torch.equal(value, found.loss_state[name]), name
