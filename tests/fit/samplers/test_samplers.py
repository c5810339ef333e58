"""Samplers of single-domain batches against UnED's construction on UnED's sizes, and UDON's rule written out again."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.fit import SAMPLERS, EpochRecord, FitData, RunConfig, Training, TrainingPlan, fit, require_domains
from probe.fit import data as placement
from probe.fit.samplers import Sampler, SingleDomainSampler, build_sampler
from probe.fit.samplers.dynamic import Dynamic
from probe.fit.samplers.shares import permuted
from probe.losses import AdaCos
from probe.runs import SweepError, sweep
from probe.runs.checkpoint import RunCheckpoint
from probe.runs.run import Run
from tests.conftest import quick, slow
from tests.fit.world import CPU, PLENTY, World, features_of, fitted, linear, small_manifest

UNED = pl.read_csv(Path(__file__).resolve().parents[3] / "recipes/reference/uned_table2.csv")
SIZES = dict(UNED.filter(pl.col("dataset") != "Total").select("dataset", "train_images").iter_rows())
BATCH, EPOCHS, PER_EPOCH = 128, 7, 22_118
STEPS = EPOCHS * PER_EPOCH
TOP_STEPS = dict(zip(SIZES, [11070, 539, 10696, 4564, 8560, 24816, 66696, 5896], strict=True))
SINGLE_DOMAIN = [kind for kind, sampler in SAMPLERS.kinds.items() if sampler.Config.single_domain]
OPTIONS: dict[str, dict[str, Any]] = {
    "specialist-steps": {"specialist_steps": {"cars": 5, "food": 2}},
    "dynamic": {"update_every": 4},
}


def steps_of(sampler: str, **options: Any) -> np.ndarray:
    """The schedule on UnED's sizes."""
    config = Training(sampler=sampler, **options).sampler
    found = SAMPLERS.find(config.kind)
    assert issubclass(found, SingleDomainSampler)
    return found.schedule(config, SIZES, STEPS)


def test_uneds_table_is_in_the_order_of_its_configurations_and_has_22118_steps_an_epoch() -> None:
    assert [name.lower()[:4] for name in SIZES] == ["food", "cars", "sop", "insh", "inat", "met", "gldv", "rp2k"]
    plan = TrainingPlan(Training(epochs=EPOCHS, batch=BATCH, sampler="dataset-size"), sum(SIZES.values()))
    assert (plan.steps_per_epoch, plan.steps, plan.epoch_samples) == (PER_EPOCH, STEPS, PER_EPOCH * BATCH)


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        # floor(154,826 * size / 2,831,222) for the first seven, what is left for the last
        ({"sampler": "dataset-size"}, [25830, 347, 2676, 1142, 14979, 21716, 77812, 10324]),
        ({"sampler": "balanced"}, [19353] * 7 + [19355]),
        (
            {"sampler": "specialist-steps", "specialist_steps": TOP_STEPS},
            [12902, 628, 12466, 5319, 9976, 28923, 77736, 6876],
        ),
    ],
    ids=lambda value: value["sampler"] if isinstance(value, dict) else "",
)
def test_a_domain_gets_the_steps_that_uneds_code_gives_it_in_an_order_of_its_own(
    options: dict[str, Any], counts: list[int]
) -> None:
    found = steps_of(**options)
    assert np.bincount(found).tolist() == counts
    assert sum(counts) == len(found) == STEPS
    shares, per_epoch = np.array(counts) / STEPS, np.bincount(found[:PER_EPOCH]) / PER_EPOCH
    np.testing.assert_allclose(per_epoch, shares, atol=0.01)  # permuted over the run, not one domain after the other
    assert np.array_equal(found, steps_of(**options))


def test_the_counts_are_floors_of_exact_fractions() -> None:
    for weights in (SIZES, TOP_STEPS):
        exact = [STEPS * weight // sum(weights.values()) for weight in weights.values()]
        exact[-1] = STEPS - sum(exact[:-1])
        assert np.bincount(steps_of("specialist-steps", specialist_steps=weights)).tolist() == exact


def test_the_published_specialist_steps_have_the_shares_of_the_protocol() -> None:
    found = steps_of("specialist-steps", specialist_steps=TOP_STEPS)
    shares = (100 * np.bincount(found) / STEPS).round(2).tolist()
    assert shares == pytest.approx([8.33, 0.41, 8.05, 3.44, 6.44, 18.68, 50.21, 4.44], abs=0.011)


def test_round_robin_is_cyclic_from_the_first_to_the_last_domain() -> None:
    found = steps_of("round-robin")
    assert found[:18].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert np.bincount(found).tolist() == [19354, 19354] + [19353] * 6, "154,826 is 2 more than a multiple of 8"


def test_shares_that_add_up_to_more_than_one_by_rounding_leave_nothing_negative() -> None:
    assert np.bincount(permuted([0.6, 0.5, 0.1], 10, 0), minlength=3).tolist() == [6, 4, 0]


def built(features: CachedFeatures, **training: Any) -> tuple[Sampler, FitData, TrainingPlan]:
    config = linear(**training)
    data = FitData(features, CPU, PLENTY)
    plan = TrainingPlan(config.training, len(data.train))
    return build_sampler(config.training, plan, data, seed=0), data, plan


@pytest.mark.parametrize("sampler", SINGLE_DOMAIN)
def test_a_batch_is_of_its_steps_domain_and_every_pass_over_a_domain_sees_each_image_once(
    sampler: str, cached: CachedFeatures
) -> None:
    found, data, plan = built(cached, epochs=6, sampler=sampler, **OPTIONS.get(sampler, {}))
    domains = data.train.frame["domain"].to_list()
    seen: dict[str, list[int]] = {name: [] for name in data.domains}
    for epoch in range(1, plan.epochs + 1):
        steps = 0
        for block in found.blocks(epoch):
            steps += len(block.domains)
            for rows, number in zip(block.rows.reshape(-1, 16), block.domains, strict=True):
                assert number is not None
                assert {domains[row] for row in rows} == {data.domains[number]}
                seen[data.domains[number]] += rows.tolist()
            found.observe(block, [1.0 + (number or 0) for number in block.domains])
        assert steps == 240 // 16
    for rows in seen.values():
        passes = [rows[start : start + 120] for start in range(0, len(rows), 120)]
        assert all(len(set(each)) == len(each) for each in passes)
        assert passes[0] != passes[1]


def test_the_order_of_the_domains_is_the_one_that_is_given(cached: CachedFeatures) -> None:
    for domains, first in ((None, [0, 1, 0]), (["food", "cars"], [1, 0, 1])):
        block = next(built(cached, sampler="round-robin", domains=domains)[0].blocks(1))
        assert list(block.domains)[:3] == first


def test_the_schedule_is_the_same_for_every_seed_and_the_images_are_not(cached: CachedFeatures) -> None:
    training = linear(sampler="balanced").training
    data = FitData(cached, CPU, PLENTY)
    one, other = (next(build_sampler(training, TrainingPlan(training, 240), data, seed).blocks(1)) for seed in (0, 1))
    assert one.domains == other.domains
    assert not np.array_equal(one.rows, other.rows)


def test_dynamic_steps_follow_the_mean_losses_since_the_last_update(cached: CachedFeatures) -> None:
    """Written out again: round robin, then at steps 20, 40, ... (from 1) shares by mean loss."""
    every, batches, epochs = 20, 15, 10
    found, _, plan = built(cached, epochs=epochs, sampler="dynamic", update_every=every, domains=["food", "cars"])
    random = np.random.default_rng(5)
    losses = random.uniform(1, 5, size=(plan.steps, 2))
    expected = [1 - step % 2 for step in range(plan.steps)]  # food is number 1 and comes first
    for step in range(every, plan.steps + 1, every):
        before = range(max(step - every - 1, 0), step - 1)  # counted from 0
        of = [[losses[s, d] for s in before if expected[s] == d] for d in (0, 1)]
        means = [sum(each) / len(each) for each in of]
        food = int(plan.steps * means[1] / sum(means))
        numbers = [1] * food + [0] * (plan.steps - food)
        drawn = [numbers[place] for place in np.random.default_rng(step).permutation(plan.steps)]
        expected[step - 1 :] = drawn[step - 1 :]
    taken: list[int | None] = []
    for epoch in range(1, epochs + 1):
        for block in found.blocks(epoch):
            start = len(taken)
            taken += block.domains
            found.observe(block, [losses[start + n, d or 0] for n, d in enumerate(block.domains)])
        assert len(taken) == epoch * batches
    assert taken == expected


def test_a_domain_without_a_step_keeps_its_share_before_all_are_scaled(cached: CachedFeatures) -> None:
    found, _, _ = built(cached, sampler="dynamic", update_every=4)
    assert isinstance(found, Dynamic)
    block = next(found.blocks(1))
    assert block.domains == [0, 1, 0]
    only = type(block)(block.rows[:16], [0])
    found.observe(only, [7.0])
    found._update(4)
    assert found.state()["shares"] == pytest.approx([1 / 1.5, 0.5 / 1.5])


def test_losses_of_zero_leave_the_shares_as_they_are(cached: CachedFeatures) -> None:
    found, _, _ = built(cached, sampler="dynamic", update_every=4)
    assert isinstance(found, Dynamic)
    found.observe(next(found.blocks(1)), [0.0] * 3)
    found._update(4)
    assert found.state()["shares"] == [0.5, 0.5]


@pytest.mark.parametrize("sampler", quick(SINGLE_DOMAIN, 2))
def test_a_sampler_that_is_restored_after_any_epoch_goes_on_as_the_first_one(
    sampler: str, cached: CachedFeatures
) -> None:
    def epoch_of(found: Sampler, epoch: int) -> list[tuple[list[int], list[int | None]]]:
        blocks = []
        for block in found.blocks(epoch):
            blocks.append((block.rows.tolist(), list(block.domains)))
            found.observe(block, [1.5 + (number or 0) for number in block.domains])
        return blocks

    options = {"epochs": 5, "sampler": sampler, **OPTIONS.get(sampler, {})}
    first = built(cached, **options)[0]
    for epoch in range(1, 6):
        again = built(cached, **options)[0]
        if epoch > 1:
            again.restore(first.state())
        assert epoch_of(again, epoch) == epoch_of(first, epoch)


@pytest.mark.parametrize("sampler", [SINGLE_DOMAIN[0], *map(slow, SINGLE_DOMAIN[1:])])
def test_a_run_that_goes_on_with_any_sampler_has_the_same_bits(
    sampler: str, cached: CachedFeatures, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        raise StoppedError

    config = linear(epochs=3, sampler=sampler, classifier="separate", **OPTIONS.get(sampler, {}))
    checkpoint = RunCheckpoint(tmp_path / ".run.partial", "k")
    for _ in range(2):
        with pytest.raises(StoppedError):
            fit(config, FitData(cached, CPU, PLENTY), checkpoint, on_epoch=stop)
    resumed, whole = fit(config, FitData(cached, CPU, PLENTY), checkpoint), fitted(config, cached)
    assert resumed.history == whole.history
    assert resumed.scores == whole.scores
    assert all(resumed.head.state_dict()[name].equal(value) for name, value in whole.head.state_dict().items())


KILLED = """
import json, os, signal, sys
from pathlib import Path
from probe.runs.checkpoint import RunCheckpoint
from probe.fit import FitData, fit, read_run_config
from tests.fit.world import CPU, PLENTY, World, small_manifest

def die(record):
    if record.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

folder, config = Path(sys.argv[1]), read_run_config(json.loads(sys.argv[2]))
data = FitData(World(folder, small_manifest()).cached(), CPU, PLENTY)
fit(config, data, RunCheckpoint(folder / "partial", "k"), on_epoch=die)
"""


@pytest.mark.slow
def test_a_dynamic_run_that_is_killed_goes_on_with_the_same_bits(world: World) -> None:
    world.store(features_of(world.frame))
    config = linear(epochs=4, sampler="dynamic", update_every=4, classifier="separate", inactive="zero-gradients")
    command = [sys.executable, "-c", KILLED, str(world.folder), config.model_dump_json()]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    checkpoint = RunCheckpoint(world.folder / "partial", "k")
    assert len(checkpoint.history) == 2
    resumed = fit(config, FitData(world.cached(), CPU, PLENTY), checkpoint)
    whole = fitted(config, world.cached())
    assert resumed.history == whole.history
    assert all(resumed.head.state_dict()[name].equal(value) for name, value in whole.head.state_dict().items())


def test_the_history_tells_each_domains_steps_and_mean_loss(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=2, sampler="specialist-steps", **OPTIONS["specialist-steps"]), cached)
    steps = Counter({"cars": 0, "food": 0})
    for record in run.history:
        lines = record.domains
        assert sum(line.steps for line in lines.values()) == 15
        mean = sum((line.loss or 0) * line.steps for line in lines.values()) / 15
        assert record.loss == pytest.approx(mean, rel=1e-5)
        steps.update({name: line.steps for name, line in lines.items()})
    assert steps == {"cars": 21, "food": 9}, "int(30 * 5 / 7), and the rest"
    assert fitted(linear(epochs=1), cached).history[0].domains == {}


@pytest.mark.parametrize("window_rows", [240, 64])
def test_single_domain_batches_are_read_from_the_store_too(
    window_rows: int, cached: CachedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one window for all the bits are those of training in memory; with smaller ones each image is still seen
    once a pass."""
    monkeypatch.setattr(placement, "WINDOW_BYTES", window_rows * cached.row_bytes)
    config = linear(epochs=2, sampler="balanced")
    read = FitData(cached, CPU, {"device": 0, "host": 0})
    assert (read.train.place, read.window) == ("store", window_rows)
    run = fit(config, read)
    if window_rows == 240:
        assert run.history == fitted(config, cached).history
    assert run.history[1].loss < run.history[0].loss


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"sampler": "balanced", "domains": ["cars", "foods"]}, "of 'foods'; did you mean 'food'"),
        ({"sampler": "balanced", "domains": ["cars"]}, "training.domains leaves out 'food'"),
        ({"sampler": "balanced", "domains": ["cars", "food", "cars"]}, "has a domain twice"),
        ({"sampler": "specialist-steps", "specialist_steps": {"cars": 3}}, "specialist_steps leaves out 'food'"),
        ({"select_on": "car"}, "select_on: validation has no domain 'car'; did you mean 'cars'"),
        ({"sampler": "round-robin", "batch": 241}, "an epoch of 240 images has no whole batch of 241"),
    ],
)
def test_domains_that_are_not_those_of_the_images_are_refused_before_any_work(
    training: dict[str, Any], message: str, cached: CachedFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = linear(**training)
    with pytest.raises(UsageError, match=message):
        fitted(config, cached)
    monkeypatch.setattr(CachedFeatures, "load", lambda *_: pytest.fail("features were loaded"))
    with pytest.raises(UsageError, match=message):
        sweep([(Run(each, cached.identity, tmp_path), cached) for each in (linear(), config)], "cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_domain_smaller_than_a_batch_is_trained_on(tmp_path: Path) -> None:
    frame = small_manifest()
    few = (frame["split"] != "train") | (frame["domain"] != "cars") | frame["image"].str.contains("/[01]/[01].jpg")
    world = World(tmp_path, frame.filter(few))
    world.store(features_of(frame)[few.to_numpy()])
    run: RunConfig = linear(epochs=1, sampler="round-robin")
    assert fitted(run, world.cached()).history[0].domains["cars"].steps > 0


def test_adacos_is_refused_for_a_domain_of_two_classes_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = small_manifest()
    few = (frame["split"] != "train") | (frame["domain"] != "cars") | frame["label"].is_in(["train0", "train1"])
    world = World(tmp_path, frame.filter(few))
    world.store(features_of(frame)[few.to_numpy()])
    features = world.cached()
    monkeypatch.setattr(CachedFeatures, "load", lambda *_: pytest.fail("features were loaded"))
    separate = linear(sampler="balanced", classifier="separate").model_copy(update={"loss": AdaCos.Config()})
    specialist = linear().model_copy(update={"loss": AdaCos.Config(), "domain": "cars"})
    for config in (separate, specialist):
        with pytest.raises(UsageError, match="at least 3 classes, and the training images of cars have 2"):
            require_domains([config], features)
    require_domains([linear(sampler="balanced").model_copy(update={"loss": AdaCos.Config()})], features)


def test_runs_of_different_regimes_have_different_names_and_each_failure_is_told(
    cached: CachedFeatures, tmp_path: Path
) -> None:
    regimes = [{}, {"sampler": "balanced"}, {"sampler": "balanced", "classifier": "separate"}]
    assert len({Run(linear(**regime), cached.identity, tmp_path).name for regime in regimes}) == 3
    runs = [Run(linear(epochs=1, lr=lr, lr_min=0), cached.identity, tmp_path) for lr in (1e30, 1e31)]
    with pytest.raises(SweepError, match=r"2 of 2 run\(s\) failed"):
        sweep([(run, cached) for run in runs], "cpu")
