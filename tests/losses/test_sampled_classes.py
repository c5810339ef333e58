"""With `sample` a step is the loss over the classes that it draws, the batch's own always among them."""

import pytest
import torch
from pydantic import ValidationError

from probe import losses
from probe.losses import CosineSoftmax, build_loss
from tests.losses.kinds import COSINE, configured

CLASSES, DIM, BATCH = 40, 6, 5
SAMPLED = [kind for kind in COSINE if kind != "adacos"]


def built(kind: str, classes: int, **options: object) -> CosineSoftmax:
    config = configured(kind, **options)
    loss = build_loss(config, torch.arange(classes) + 1, DIM, torch.Generator().manual_seed(0)).double()
    assert isinstance(loss, CosineSoftmax)
    return loss


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)
    return embeddings, torch.tensor([7, 31, 7, 0, CLASSES - 1])


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_step_is_the_loss_over_the_classes_that_it_draws(kind: str) -> None:
    embeddings, labels = batch()
    sampled = built(kind, CLASSES, sample=0.25, sub_centers=3)
    before, state = sampled.generator.get_state(), {k: v.clone() for k, v in sampled.state_dict().items()}
    value = sampled(embeddings, labels)
    (gradient,) = torch.autograd.grad(value, sampled.weight)
    sampled.generator.set_state(before)
    chosen = sampled.draw(0.25, labels)
    assert len(chosen) == 10
    assert set(labels.tolist()) <= set(chosen.tolist())

    alone = built(kind, len(chosen), sub_centers=3)
    weight = sampled.weight.detach().view(-1, CLASSES, DIM)[:, chosen]
    state |= {"weight": weight.flatten(0, 1)} | ({"margins": state["margins"][chosen]} if "margins" in state else {})
    alone.load_state_dict(state)
    expected = alone(embeddings, torch.searchsorted(chosen, labels))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    of_drawn = gradient.view(-1, CLASSES, DIM)
    assert torch.equal(of_drawn.flatten(2).abs().sum((0, 2)).nonzero()[:, 0], chosen)
    (needed,) = torch.autograd.grad(expected, alone.weight)
    torch.testing.assert_close(of_drawn[:, chosen].flatten(0, 1), needed, rtol=1e-10, atol=1e-12)


def test_all_classes_come_up_and_each_as_often_as_another() -> None:
    loss, labels = built("arcface", CLASSES, sample=0.25), torch.tensor([0])
    times = torch.bincount(torch.cat([loss.draw(0.25, labels) for _ in range(400)]), minlength=CLASSES)
    assert times[0] == 400
    assert times[1:].sum() == 400 * 9
    spread = (times[1:] - 400 * 9 / 39).abs().max()
    assert spread < 5 * (400 * (9 / 39) * (30 / 39)) ** 0.5


@pytest.mark.parametrize(("share", "labels", "count"), [(0.01, 30, 30), (0.01, 1, 1), (0.9, 60, 40)])
def test_a_batch_finds_its_classes_however_few_are_asked_for(share: float, labels: int, count: int) -> None:
    loss, some = built("arcface", CLASSES, sample=share), torch.arange(labels) % CLASSES
    chosen = loss.draw(share, some)
    assert len(chosen) == count
    assert set(some.tolist()) <= set(chosen.tolist())


def test_in_eval_mode_all_classes_count() -> None:
    sampled, whole = (built("arcface", CLASSES, sample=sample).eval() for sample in (0.25, None))
    assert torch.equal(sampled(*batch()), whole(*batch()))


def test_where_it_is_not_set_a_configuration_is_written_as_it_always_was() -> None:
    assert "sample" not in losses.ArcFace.Config().model_dump()
    config = losses.ArcFace.Config(sample=0.1)
    assert config.model_dump()["sample"] == 0.1
    assert losses.ArcFace.Config.model_validate(config.model_dump()) == config
    for share in (0, 1.0, -0.5):
        with pytest.raises(ValidationError):
            losses.ArcFace.Config(sample=share)
