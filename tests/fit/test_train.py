import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from probe.errors import ProbeError
from probe.extract.features import CachedFeatures
from probe.fit.config import RunConfig
from probe.fit.schedule import learning_rate
from probe.fit.train import Fitted, embed, fit
from probe.heads import config as heads
from probe.heads.pca import PCAWhitening
from probe.retrieval.evaluation import evaluate
from tests.fit.conftest import CLASSES, DIM, IMAGES, World, features_of, linear, untrained

CPU = torch.device("cpu")


def fitted(config: RunConfig, features: CachedFeatures) -> Fitted:
    return fit(config, features, CPU, lambda note: None)


@pytest.fixture(scope="module")
def trained(cached: CachedFeatures) -> Fitted:
    return fitted(linear(), cached)


def test_a_trained_head_beats_a_random_projection(cached: CachedFeatures, trained: Fitted) -> None:
    random = [fitted(untrained(heads.RandomProjection(dim=8), seed), cached) for seed in range(3)]
    for split in ("val", "test"):
        assert trained.metrics[split]["domains"].keys() == {"cars", "food"}
        best_random = max(run.metrics[split]["mean"]["mMP@5"] for run in random)
        assert trained.metrics[split]["mean"]["mMP@5"] > best_random + 0.2


def test_the_loss_falls(trained: Fitted) -> None:
    losses = [record["loss"] for record in trained.history]
    assert losses[-1] < 0.8 * losses[0]


def test_history_has_the_rate_of_each_epochs_last_step(trained: Fitted) -> None:
    training = linear().training
    assert training is not None
    steps = math.ceil(CLASSES["train"] * IMAGES / training.batch)
    expected = [learning_rate(epoch * steps - 1, steps, training) for epoch in range(1, training.epochs + 1)]
    assert [record["lr"] for record in trained.history] == expected
    assert [record["epoch"] for record in trained.history] == list(range(1, training.epochs + 1))


@pytest.mark.parametrize(
    "config",
    [linear(), linear(seed=1, lr=20.0, lr_min=20.0), linear(epochs=2, lr=1e-9, lr_min=0)],
    ids=["the last is best", "the first is best", "all are equal"],
)
def test_the_selected_epoch_is_the_first_best_on_validation(config: RunConfig, cached: CachedFeatures) -> None:
    run = fitted(config, cached)
    values = [record["val"]["mMP@5"] for record in run.history]
    assert run.metrics["selected_epoch"] == values.index(max(values)) + 1
    assert run.metrics["val"]["mean"]["mMP@5"] == max(values)


def test_the_head_that_is_returned_is_the_selected_one(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=3, lr=20.0, lr_min=20.0), cached)
    assert run.metrics["selected_epoch"] < 3, "the test needs a run that gets worse"
    for split in ("val", "test"):
        rows = cached.split(split)
        assert evaluate(rows.frame, embed(run.head, rows, CPU)).summary == run.metrics[split]
    assert run.metrics["last"]["epoch"] == 3
    assert run.metrics["last"]["val"]["mean"] == run.history[-1]["val"]
    assert run.metrics["last"]["val"] != run.metrics["val"]


def test_the_same_seed_gives_the_same_bits_whatever_ran_before(cached: CachedFeatures, trained: Fitted) -> None:
    torch.manual_seed(1234)
    np.random.seed(1234)
    again = fitted(linear(), cached)
    assert json.dumps(again.metrics) == json.dumps(trained.metrics)
    assert again.history == trained.history
    assert again.per_query.equals(trained.per_query)
    for name, value in trained.head.state_dict().items():
        assert torch.equal(again.head.state_dict()[name], value)


def test_another_seed_gives_another_head(cached: CachedFeatures, trained: Fitted) -> None:
    other = fitted(linear(seed=1), cached)
    assert not torch.equal(other.head.state_dict()["weight"], trained.head.state_dict()["weight"])
    assert other.history != trained.history


def test_classes_are_labels_within_domains(trained: Fitted) -> None:
    assert trained.metrics["classes"] == CLASSES["train"], "12 labels in each of 2 domains"
    assert trained.metrics["parameters"] == {"head": 8 * DIM + 8, "classes": 2 * 8 * CLASSES["train"]}
    assert trained.metrics["dim"] == 8
    assert trained.in_dim == DIM
    assert (trained.metrics["training_images"], trained.metrics["left_out"]) == (CLASSES["train"] * IMAGES, 0)


def test_progress_is_told_once_an_epoch(cached: CachedFeatures) -> None:
    notes: list[str] = []
    fit(linear(epochs=3), cached, CPU, notes.append)
    assert len(notes) == 3
    fit(untrained(heads.FullDimension()), cached, CPU, notes.append)
    assert len(notes) == 4


def test_full_dimension_scores_the_features_themselves(cached: CachedFeatures) -> None:
    run = fitted(untrained(heads.FullDimension()), cached)
    rows = cached.split("test")
    assert run.metrics["test"] == evaluate(rows.frame, torch.from_numpy(rows.features)).summary
    assert run.metrics["dim"] == DIM
    assert run.history == []


def test_pca_whitening_is_fitted_on_the_training_split_only(cached: CachedFeatures) -> None:
    run = fitted(untrained(heads.PCAWhitening(dim=8, per_domain=0)), cached)
    expected = PCAWhitening.fit(torch.from_numpy(cached.split("train").features), 8)
    torch.testing.assert_close(run.head.state_dict(), dict(expected.state_dict()))


def test_pca_whitening_takes_as_many_images_of_each_domain_as_asked_drawn_by_the_seed(cached: CachedFeatures) -> None:
    def projection(per_domain: int, seed: int) -> torch.Tensor:
        config = untrained(heads.PCAWhitening(dim=8, per_domain=per_domain), seed)
        return fitted(config, cached).head.state_dict()["projection"]

    assert torch.equal(projection(20, 0), projection(20, 0))
    assert not torch.equal(projection(20, 0), projection(20, 1))
    of_domain = CLASSES["train"] * IMAGES // 2
    everything = projection(0, 0)
    assert torch.equal(everything, projection(of_domain, 1))
    assert torch.equal(everything, projection(9000, 2))
    assert not torch.equal(everything, projection(of_domain - 1, 0))
    with pytest.raises(ProbeError, match="the 8 training features span only 7"):
        projection(4, 0)


def test_images_that_failed_to_decode_are_left_out_and_counted(world: World) -> None:
    failed = {"train/cars/0/0.jpg", "train/food/3/5.jpg", "test/food/1/2.jpg"}
    world.store(features_of(world.frame), frozenset(failed))
    run = fitted(linear(epochs=1), world.cached())
    assert (run.metrics["training_images"], run.metrics["left_out"]) == (CLASSES["train"] * IMAGES - 2, 3)
    assert run.metrics["test"]["domains"]["food"]["queries"] == 3 * IMAGES - 1
    assert run.metrics["test"]["domains"]["cars"]["queries"] == 3 * IMAGES
    assert not failed & set(run.per_query["image"])
    neighbours = run.per_query["neighbours"].explode()
    assert not neighbours.is_in(list(failed)).any()
    siblings = run.per_query.filter(pl.col("image").str.starts_with("test/food/1/"))
    assert siblings["n"].unique().to_list() == [IMAGES - 2]


def test_a_failed_image_changes_nothing_but_its_absence(world: World, tmp_path: Path) -> None:
    gone = "train/cars/0/0.jpg"
    features = features_of(world.frame)
    world.store(features, frozenset({gone}))
    keep = (world.frame["image"] != gone).to_numpy()
    smaller = World(tmp_path / "smaller", world.frame.filter(keep))
    smaller.store(features[keep])
    one, other = fitted(linear(epochs=2), world.cached()), fitted(linear(epochs=2), smaller.cached())
    assert one.history == other.history
    assert one.metrics["test"] == other.metrics["test"]


@pytest.mark.parametrize("lr", [1e30, 1e38])
def test_a_learning_rate_that_explodes_is_a_clear_error(lr: float, cached: CachedFeatures) -> None:
    with pytest.raises(ProbeError, match=r"loss is (nan|inf)|zero or not finite"):
        fitted(linear(lr=lr, lr_min=0), cached)


def test_a_last_batch_of_one_image_is_trained_on(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=1, batch=239), cached)
    assert math.isfinite(run.history[0]["loss"])


def test_embedding_block_by_block_equals_embedding_at_once(
    cached: CachedFeatures, trained: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = cached.split("test")
    whole = embed(trained.head, rows, CPU)
    monkeypatch.setattr("probe.fit.train.EMBED_ROWS", 7)
    torch.testing.assert_close(embed(trained.head, rows, CPU), whole)
