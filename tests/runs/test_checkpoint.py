"""An interrupted run goes on from its last epoch and ends with the bits of an undisturbed one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from probe import heads, losses
from probe.extract.features import CachedFeatures
from probe.fit import EpochRecord, FitData, Fitted, RunConfig, fit
from probe.runs import sweep, sweeps
from probe.runs.checkpoint import FILE, RunCheckpoint
from probe.runs.display import SweepDisplay
from probe.runs.run import Run
from tests.conftest import slow
from tests.fit.world import CPU, PLENTY, fitted, linear

COMPARED = ("metrics.json", "head.safetensors", "history.jsonl", "config.yaml")


class InterruptedRunError(Exception):
    pass


def interrupted(config: RunConfig, features: CachedFeatures, checkpoint: RunCheckpoint, after: int) -> None:
    def stop(record: EpochRecord) -> None:
        if record.epoch == after:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fit(config, FitData(features, CPU, PLENTY), checkpoint, on_epoch=stop)


def assert_equal_bits(one: Fitted, other: Fitted) -> None:
    assert one.history == other.history
    assert one.scores == other.scores
    assert one.per_query["separate"].equals(other.per_query["separate"])
    for name, value in one.head.state_dict().items():
        assert torch.equal(value, other.head.state_dict()[name])


@pytest.mark.parametrize(
    ("config", "after"),
    [
        (linear(), 1),
        slow(linear(), 4),
        slow(linear(optimizer="sgd", lr=1.0), 3),
        slow(linear(optimizer="adamw", freeze_head_epochs=2), 2),
        (linear(freeze_head_epochs=2), 1),
        slow(linear(freeze_head_epochs=1), 2),
        (linear(lr=20.0, lr_min=20.0, seed=1), 3),
        (linear(samples=400, validate_every=100), 1),
        slow(linear().model_copy(update={"loss": losses.CurricularFace.Config(scale=8)}), 2),
        slow(linear().model_copy(update={"loss": losses.AdaFace.Config(scale=8)}), 2),
        slow(linear().model_copy(update={"loss": losses.AdaCos.Config()}), 2),
        (linear().model_copy(update={"head": heads.BatchNormLinear.Config(hidden=16, dim=8)}), 2),
    ],
    ids=[
        "adam",
        "all epochs done",
        "sgd",
        "adamw, thawed",
        "frozen before and after",
        "thawed before",
        "an earlier epoch is best",
        "in the middle of a pass",
        "curricularface",
        "adaface",
        "adacos",
        "batch norm and pca",
    ],
)
def test_a_run_that_goes_on_after_any_epoch_has_the_same_bits(
    config: RunConfig, after: int, cached: CachedFeatures, tmp_path: Path
) -> None:
    checkpoint = RunCheckpoint(tmp_path / ".run.partial", "k")
    interrupted(config, cached, checkpoint, after)
    assert len(checkpoint.history) == after
    records: list[EpochRecord] = []
    torch.manual_seed(99)
    resumed = fit(config, FitData(cached, CPU, PLENTY), checkpoint, on_epoch=records.append)
    assert [record.epoch for record in records] == list(range(after + 1, 5)), "what was done is not done again"
    assert_equal_bits(resumed, fitted(config, cached))


@pytest.mark.slow
def test_the_unfinished_folder_goes_when_the_run_appears_and_others_stay(
    cached: CachedFeatures, tmp_path: Path
) -> None:
    run, other = (Run(linear(seed=seed), cached.identity, tmp_path) for seed in (0, 1))
    for each in (run, other):
        interrupted(each.config, cached, each.checkpoint, 2)
    assert {path.name for path in tmp_path.iterdir()} == {f".{each.path.name}.partial" for each in (run, other)}, (
        "nothing is under the run's own name"
    )
    assert run.images_left(240) == 480
    assert sweep([(run, cached)], "cpu") == 1
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name, other.checkpoint.folder.name}
    undisturbed = Run(run.config, cached.identity, tmp_path / "undisturbed")
    sweep([(undisturbed, cached)], "cpu")
    for name in COMPARED:
        assert (run.path / name).read_bytes() == (undisturbed.path / name).read_bytes()


@pytest.mark.parametrize("content", [b"half", slow(b""), slow(b"\xff" * 100)])
def test_a_damaged_checkpoint_is_said_and_the_run_starts_again(
    content: bytes, cached: CachedFeatures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunCheckpoint(tmp_path / ".run.partial", "k")
    interrupted(linear(epochs=2), cached, checkpoint, 1)
    (checkpoint.folder / FILE).write_bytes(content)
    data = FitData(cached, CPU, PLENTY)
    assert_equal_bits(fit(linear(epochs=2), data, checkpoint), fitted(linear(epochs=2), cached))
    assert "cannot be read" in capsys.readouterr().err


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_said_and_it_is_not_used(
    cached: CachedFeatures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunCheckpoint(tmp_path / ".run.partial", "k")
    interrupted(linear(epochs=2), cached, checkpoint, 1)
    file, rng = checkpoint.folder / FILE, np.random.default_rng(0)
    whole = file.read_bytes()
    for position in [*range(0, 400, 7), *rng.integers(len(whole), size=100).tolist()]:
        changed = bytearray(whole)
        changed[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        found = checkpoint.read()
        key_is_another = found is None and not capsys.readouterr().err
        assert found is None
        assert not key_is_another or position < 400, "only the key's own letters make it another run's"


def test_a_checkpoint_of_another_key_is_not_used(cached: CachedFeatures, tmp_path: Path) -> None:
    interrupted(linear(), cached, RunCheckpoint(tmp_path, "k"), 2)
    assert RunCheckpoint(tmp_path, "other").read() is None
    assert RunCheckpoint(tmp_path, "other").history == []


def test_a_checkpoint_made_with_another_shuffling_is_said_and_not_used(
    cached: CachedFeatures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunCheckpoint(tmp_path, "k")
    interrupted(linear(), cached, checkpoint, 2)
    records: list[EpochRecord] = []
    fit(linear(), FitData(cached, CPU, {"device": 0, "host": 0}), checkpoint, on_epoch=records.append)
    assert len(records) == 4
    assert "made with all rows shuffled together, and there is memory for rows shuffled in windows of" in (
        capsys.readouterr().err
    )


def test_a_sweep_counts_the_images_of_a_checkpoint_that_it_cannot_use(
    cached: CachedFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(linear(), cached.identity, tmp_path)
    interrupted(run.config, cached, run.checkpoint, 2)
    left: list[int] = []
    monkeypatch.setattr(sweeps, "feature_budget", lambda *of: {"device": 0, "host": 0})
    monkeypatch.setattr(
        sweeps, "SweepDisplay", lambda runs: left.append(runs[0][0].images_left(240)) or SweepDisplay(runs)
    )
    assert sweep([(run, cached)], "cpu") == 1
    assert left == [4 * 240]
