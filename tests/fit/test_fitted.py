import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from probe import heads
from probe.errors import ProbeError, UsageError
from probe.extract.features import CachedFeatures
from probe.fit import FitData, Fitted, RunConfig, SplitRows, TrainingPlan, embed, fit, score_merged
from probe.heads import PCAWhitening, TrainingImages
from probe.metrics import Scores, evaluate
from tests.fit.world import CLASSES, CPU, DIM, IMAGES, PLENTY, World, features_of, fitted, linear, untrained


def rows_of(features: CachedFeatures, split: str, place: str = "device") -> SplitRows:
    return SplitRows(features, features.frame(split), place, CPU)


def scores_of(run: Fitted, split: str) -> Scores:
    """Of the merged index, by the clean protocol."""
    if split == "val":
        assert run.scores.val
        return run.scores.val
    return run.scores.test.of("clean", "merged")


@pytest.fixture(scope="module")
def trained(cached: CachedFeatures) -> Fitted:
    return fitted(linear(), cached)


def test_a_trained_head_beats_a_random_projection(cached: CachedFeatures, trained: Fitted) -> None:
    random = [fitted(untrained(heads.RandomProjection.Config(dim=8), seed), cached) for seed in range(3)]
    for split in ("val", "test"):
        assert scores_of(trained, split).domains.keys() == {"cars", "food"}
    best_random = max(scores_of(run, "test").value("mMP@5") for run in random)
    assert scores_of(trained, "test").value("mMP@5") > best_random + 0.2


def test_the_loss_falls(trained: Fitted) -> None:
    losses = [record.loss for record in trained.history]
    assert losses[-1] < 0.8 * losses[0]


def test_history_has_the_rate_of_each_epochs_last_step(trained: Fitted) -> None:
    training = linear().training
    assert training is not None
    plan = TrainingPlan(training, CLASSES["train"] * IMAGES)
    ends = [epoch * plan.steps_per_epoch for epoch in range(1, 5)]
    assert [record.lr for record in trained.history] == [plan.learning_rate(end - 1) for end in ends]
    assert [record.epoch for record in trained.history] == [1, 2, 3, 4]
    assert [record.samples for record in trained.history] == [240, 480, 720, 960]


@pytest.mark.parametrize(
    "config",
    [linear(), linear(seed=1, lr=20.0, lr_min=20.0), linear(epochs=2, lr=1e-9, lr_min=0)],
    ids=["the last is best", "the first is best", "all are equal"],
)
def test_the_selected_epoch_is_the_first_best_on_validation(config: RunConfig, cached: CachedFeatures) -> None:
    run = fitted(config, cached)
    values = [record.val["mMP@5"] for record in run.history]
    assert run.scores.selected_epoch == values.index(max(values)) + 1
    assert scores_of(run, "val").mean["mMP@5"] == max(values)


def test_the_head_that_is_returned_is_the_selected_one(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=3, lr=20.0, lr_min=20.0), cached)
    assert run.scores.selected_epoch in (1, 2), "the test needs a run that gets worse"
    for split in ("val", "test"):
        rows = rows_of(cached, split)
        found = evaluate(rows.frame, embed(run.head, rows), metrics=list(scores_of(run, split).mean))
        assert found.scores.of("clean", "merged") == scores_of(run, split)
    assert run.scores.last
    assert run.scores.last.epoch == 3
    assert run.scores.last.val.mean == run.history[-1].val
    assert run.scores.last.val != run.scores.val


def test_the_same_seed_gives_the_same_bits_whatever_ran_before(cached: CachedFeatures, trained: Fitted) -> None:
    torch.manual_seed(1234)
    np.random.seed(1234)
    again = fitted(linear(), cached)
    assert again.scores.model_dump_json() == trained.scores.model_dump_json()
    assert again.history == trained.history
    assert again.per_query["merged"].equals(trained.per_query["merged"])
    for name, value in trained.head.state_dict().items():
        assert torch.equal(again.head.state_dict()[name], value)


def test_another_seed_gives_another_head(cached: CachedFeatures, trained: Fitted) -> None:
    other = fitted(linear(seed=1), cached)
    assert not torch.equal(other.head.state_dict()["weight"], trained.head.state_dict()["weight"])
    assert other.history != trained.history


def test_classes_are_labels_within_domains(trained: Fitted) -> None:
    assert trained.scores.classes == CLASSES["train"], "12 labels in each of 2 domains"
    assert trained.scores.parameters == {"head": 8 * DIM + 8, "classes": 2 * 8 * CLASSES["train"]}
    assert trained.scores.dim == 8
    assert trained.in_dim == DIM
    assert (trained.scores.training_images, trained.scores.left_out) == (CLASSES["train"] * IMAGES, 0)


def test_progress_tells_every_image_and_every_epoch(cached: CachedFeatures) -> None:
    data, images, records = FitData(cached, CPU, PLENTY), [], []
    run = fit(linear(epochs=3), data, None, images.append, records.append)
    assert sum(images) == 3 * CLASSES["train"] * IMAGES
    assert records == run.history
    fit(untrained(heads.FullDimension.Config()), data, None, images.append, records.append)
    assert (sum(images), len(records)) == (4 * CLASSES["train"] * IMAGES, 3)


def test_full_dimension_scores_the_features_themselves(cached: CachedFeatures) -> None:
    run = fitted(untrained(heads.FullDimension.Config()), cached)
    rows = cached.split("test")
    assert run.scores.test == evaluate(rows.frame, torch.from_numpy(rows.features)).scores
    assert run.scores.dim == DIM
    assert run.history == []


def test_pca_whitening_is_fitted_on_the_training_split_only(cached: CachedFeatures) -> None:
    run = fitted(untrained(heads.PCAWhitening.Config(dim=8, per_domain=0)), cached)
    images = TrainingImages.of(torch.from_numpy(cached.split("train").features))
    expected = PCAWhitening(DIM, 8, torch.Generator()).fit(images)
    torch.testing.assert_close(run.head.state_dict(), dict(expected.state_dict()))


def test_pca_whitening_takes_as_many_images_of_each_domain_as_asked_drawn_by_the_seed(cached: CachedFeatures) -> None:
    def projection(per_domain: int, seed: int) -> torch.Tensor:
        config = untrained(heads.PCAWhitening.Config(dim=8, per_domain=per_domain), seed)
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


def test_a_head_that_is_fitted_to_the_collection_sees_the_index_images_of_test_each_once(world: World) -> None:
    frame = world.frame
    is_test = (frame["split"] == "test").to_numpy()
    queries = is_test & (frame["image"].str.ends_with("/0.jpg").to_numpy())
    roles = np.where(queries, "query", np.where(is_test, "index", frame["role"].to_numpy()))
    world.frame = frame.with_columns(role=pl.Series(roles))
    features = features_of(frame)
    world.store(features)
    twice = world.frame[[-1]].with_columns(label=pl.lit("another"))
    world.frame = pl.concat([world.frame, twice])
    run = fitted(untrained(heads.Discriminant.Config(dim=8, fit_to="data")), world.cached())
    train = (frame["split"] == "train").to_numpy()
    labels = frame.filter(train).select(pl.struct("domain", "label").rank("dense").cast(pl.Int64) - 1).to_series()
    index = torch.from_numpy(features[is_test & ~queries])
    images = TrainingImages.of(torch.from_numpy(features[train]), torch.from_numpy(labels.to_numpy().copy()))
    images = replace(images, collection=lambda: iter([(torch.arange(len(index)), index)]))
    expected = heads.Discriminant(DIM, 8, torch.Generator()).fit(images)
    torch.testing.assert_close(run.head.state_dict(), dict(expected.state_dict()), rtol=1e-4, atol=1e-4)


def test_images_that_failed_to_decode_are_left_out_and_counted(world: World) -> None:
    failed = {"train/cars/0/0.jpg", "train/food/3/5.jpg", "test/food/1/2.jpg"}
    world.store(features_of(world.frame), frozenset(failed))
    run = fitted(linear(epochs=1), world.cached())
    assert (run.scores.training_images, run.scores.left_out) == (CLASSES["train"] * IMAGES - 2, 3)
    assert scores_of(run, "test").domains["food"].queries == 3 * IMAGES - 1
    assert scores_of(run, "test").domains["cars"].queries == 3 * IMAGES
    assert not failed & set(run.per_query["merged"]["image"])
    neighbours = run.per_query["merged"]["neighbours"].explode()
    assert not neighbours.is_in(list(failed)).any()
    siblings = run.per_query["merged"].filter(pl.col("image").str.starts_with("test/food/1/"))
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
    assert one.scores.test == other.scores.test


def test_a_last_batch_of_one_image_is_trained_on(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=1, batch=239), cached)
    assert math.isfinite(run.history[0].loss)


def test_embedding_block_by_block_from_memory_or_the_store_equals_embedding_at_once(
    cached: CachedFeatures, trained: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embed(trained.head, rows_of(cached, "test"))
    monkeypatch.setattr(SplitRows.blocks, "__defaults__", (7,))
    for place in ("device", "store"):
        torch.testing.assert_close(embed(trained.head, rows_of(cached, "test", place)), whole)


def test_sample_counted_training_validates_where_it_was_told_to(cached: CachedFeatures) -> None:
    run = fitted(linear(samples=400, validate_every=100, batch=20), cached)
    assert [record.samples for record in run.history] == [100, 200, 300, 400]
    assert run.scores.last
    assert run.scores.last.epoch == 4


def test_sample_counted_training_with_the_length_of_an_epoch_is_epoch_counted_training(
    cached: CachedFeatures, trained: Fitted
) -> None:
    run = fitted(linear(samples=960, validate_every=240), cached)
    assert run.history == trained.history
    assert run.scores == trained.scores


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_frozen_head_stays_as_it_was_drawn_and_the_classes_are_trained(
    optimizer: str, cached: CachedFeatures
) -> None:
    config = linear(epochs=3, freeze_head_epochs=2, optimizer=optimizer)
    drawn = fitted(untrained(heads.RandomProjection.Config(dim=8)), cached)
    validated = score_merged(drawn.head, FitData(cached, CPU, PLENTY).val)
    run = fitted(config, cached)
    assert run.history[0].val == run.history[1].val == validated.mean
    assert run.history[2].loss < run.history[1].loss < run.history[0].loss
    assert run.history[2].val != run.history[0].val


def test_the_epoch_is_selected_by_the_metric_and_the_domain_that_is_asked_for(cached: CachedFeatures) -> None:
    for by in ("mMP@5", "R@1"):
        run = fitted(linear(seed=3, lr=2.0, lr_min=2.0, epochs=5, select_by=by), cached)
        values = [record.val[by] for record in run.history]
        assert run.scores.selected_epoch == values.index(max(values)) + 1
    own = fitted(linear(epochs=5, lr=2.0, lr_min=2.0, select_on="cars"), cached)
    assert own.scores.last
    assert scores_of(own, "val").value("mMP@5", "cars") >= own.scores.last.val.value("mMP@5", "cars")
    with pytest.raises(UsageError, match=r"select_on: validation has no domain 'car'; did you mean 'cars'"):
        fitted(linear(select_on="car"), cached)


@pytest.mark.parametrize("options", [{"optimizer": "adamw"}, {"optimizer": "sgd", "lr": 1.0, "nesterov": True}])
def test_every_optimizer_trains(options: dict[str, Any], cached: CachedFeatures) -> None:
    run = fitted(linear(**options), cached)
    assert run.history[-1].loss < run.history[0].loss
