"""A specialist: fitted and validated on one domain's images, over the features that all runs share, tested on all."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from probe import heads
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.fit import FitData, RunConfig, fit
from probe.runs import sweep
from probe.runs.display import SweepDisplay
from probe.runs.processes import FitSettings
from probe.runs.run import Run
from probe.runs.sweeps import RunFitter
from tests.conftest import slow
from tests.fit.world import (
    CLASSES,
    CPU,
    IMAGES,
    PLENTY,
    World,
    features_of,
    fitted,
    linear,
    small_manifest,
    untrained,
)


def of(domain: str, config: RunConfig) -> RunConfig:
    return config.model_copy(update={"domain": domain})


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> CachedFeatures:
    """A manifest with only one of the two domains, over the same features."""
    frame = small_manifest()
    kept = (frame["domain"] == "cars").to_numpy()
    world = World(tmp_path_factory.mktemp("cars"), frame.filter(kept))
    world.store(features_of(frame)[kept])
    return world.cached()


@pytest.mark.parametrize(
    "training",
    [
        {},
        slow({"sampler": "balanced"}),
        {"sampler": "dynamic", "update_every": 3, "classifier": "separate"},
        slow({"samples": 200, "validate_every": 50, "sampler": "round-robin"}),
    ],
    ids=str,
)
def test_it_equals_a_run_on_a_manifest_of_its_domain_alone(
    training: dict[str, Any], cached: CachedFeatures, cars: CachedFeatures
) -> None:
    config = linear(select_by="R@1", **training)
    specialist, alone = fitted(of("cars", config), cached), fitted(config, cars)
    assert specialist.history == alone.history
    for name in ("val", "classes", "training_images", "selected_epoch", "parameters"):
        assert getattr(specialist.scores, name) == getattr(alone.scores, name)
    assert specialist.scores.last
    assert alone.scores.last
    assert specialist.scores.last.val == alone.scores.last.val
    assert all(specialist.head.state_dict()[name].equal(value) for name, value in alone.head.state_dict().items())


def test_it_is_validated_on_its_own_domain_and_tested_on_all(cached: CachedFeatures) -> None:
    run = fitted(of("food", linear(epochs=1)), cached)
    assert run.scores.val
    assert run.scores.val.domains.keys() == {"food"}
    assert run.scores.test.of("clean", "merged").domains.keys() == {"cars", "food"}
    assert (run.scores.classes, run.scores.training_images) == (CLASSES["train"] // 2, 120)


def test_a_head_in_closed_form_is_fitted_on_the_domain_too(cached: CachedFeatures, cars: CachedFeatures) -> None:
    config = untrained(heads.PCAWhitening.Config(dim=8, per_domain=0))
    specialist, alone = fitted(of("cars", config), cached), fitted(config, cars)
    torch.testing.assert_close(specialist.head.state_dict(), alone.head.state_dict(), rtol=0, atol=0)


def test_it_shares_the_features_in_memory(cached: CachedFeatures) -> None:
    data = FitData(cached, CPU, PLENTY)
    part = data.of_domain("food")
    assert part.train._features is data.train._features
    assert part.val._features is data.val._features
    assert part.test is data.test
    assert len(part.train) == 120
    assert data.of_domain(None) is data


@pytest.mark.parametrize("budget", [PLENTY, {"device": 0, "host": 0}], ids=["memory", "store"])
def test_its_rows_are_those_of_the_domain_wherever_they_are(budget: dict[str, int], cached: CachedFeatures) -> None:
    part = FitData(cached, CPU, budget).of_domain("food")
    expected = cached.load(cached.frame("train").sort("source", "image").filter(pl.col("domain") == "food"))
    assert np.array_equal(part.train.take(np.arange(120)).numpy(), expected)
    for size in (7, 120):
        found = torch.empty(120, expected.shape[1])
        for rows, block in part.train.blocks(size):
            found[rows] = block
        assert np.array_equal(found.numpy(), expected)
    order = np.random.default_rng(0).permutation(120)
    batches = [features for _, features in part.train.batches(order, 32)]
    assert np.array_equal(torch.cat(batches).numpy(), expected[order])


@pytest.mark.slow
def test_a_process_loads_the_features_of_all_specialists_once(
    cached: CachedFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached.constants.none  # which reads a block by itself
    loaded: list[int] = []
    load = CachedFeatures.load
    monkeypatch.setattr(CachedFeatures, "load", lambda self, frame: loaded.append(len(frame)) or load(self, frame))
    runs = [Run(config, cached.identity, tmp_path) for config in (linear(), of("cars", linear()), of("food", linear()))]
    with SweepDisplay([(run, cached) for run in runs]) as display:
        fitter = RunFitter(FitSettings("cpu", PLENTY), display)
        for run in runs:
            fitter.fit(run, cached)
    assert loaded == [CLASSES[split] * IMAGES for split in ("train", "val", "test")]
    assert len({run.path for run in runs}) == 3


def test_an_unknown_domain_is_refused_before_any_work(
    cached: CachedFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CachedFeatures, "load", lambda *_: pytest.fail("features were loaded"))
    run = Run(of("car", linear()), cached.identity, tmp_path)
    with pytest.raises(UsageError, match="domain: there are no training images of 'car'; did you mean 'cars'"):
        sweep([(run, cached)], "cpu")


def test_a_domain_with_nothing_to_find_in_validation_is_refused(tmp_path: Path) -> None:
    frame = small_manifest()
    kept = ((frame["split"] != "val") | (frame["domain"] != "cars")).to_numpy()
    world = World(tmp_path, frame.filter(kept))
    world.store(features_of(frame)[kept])
    with pytest.raises(UsageError, match="no validation query of 'cars' has anything to find"):
        fit(of("cars", linear()), FitData(world.cached(), CPU, PLENTY))


def test_progress_counts_a_specialists_own_images(cached: CachedFeatures, tmp_path: Path) -> None:
    config = of("cars", linear(epochs=2))
    seen: list[int] = []
    fit(config, FitData(cached, CPU, PLENTY), on_step=seen.append)
    assert sum(seen) == 240 == Run(config, {}, tmp_path).images_left(120)
