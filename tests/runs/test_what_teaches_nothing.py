"""What makes a score mean nothing is said before it is printed: one class, no loss, equal features."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from probe import heads, losses
from probe.fit import TrainedConfig, Training
from probe.runs.run import Run
from probe.runs.sweeps import sweep
from tests.fit.world import BACKBONE, World, features_of, small_manifest


def said(world: World, capsys: pytest.CaptureFixture[str], domain: str | None = None) -> str:
    config = TrainedConfig(
        backbone=BACKBONE,
        head=heads.Linear.Config(dim=8),
        loss=losses.ArcFace.Config(),
        training=Training(epochs=2, batch=16),
        seed=0,
        domain=domain,
    )
    cached = world.cached()
    sweep([(Run(config, cached.identity, world.folder / "runs"), cached)], "cpu")
    return capsys.readouterr().err


def test_one_training_class_and_a_loss_of_zero_are_said_before_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = small_manifest()
    first = frame.filter(split="train").select("domain", "label").row(0)
    is_first = (pl.col("domain") == first[0]) & (pl.col("label") == first[1])
    world = World(tmp_path, frame.filter((pl.col("split") != "train") | is_first))
    world.store(features_of(world.frame))
    lines = said(world, capsys).splitlines()
    told = [i for i, line in enumerate(lines) if "all training images are of one class" in line]
    without_loss = [i for i, line in enumerate(lines) if "the loss is 0.000 in epoch 1" in line]
    score = [i for i, line in enumerate(lines) if "% mMP@5" in line or "% R@1" in line]
    assert len(told) == len(without_loss) == 1
    assert score
    assert max(told[0], without_loss[0]) < score[0]


@pytest.mark.slow
def test_features_of_which_none_or_little_varies_are_said_before_the_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, small_manifest())
    features = features_of(world.frame)
    features[:, :3] = 0
    world.store(features)
    assert f"{BACKBONE}: 3 of {features.shape[1]} columns of the features are the same in all" in said(world, capsys)
    (tmp_path / "equal").mkdir()
    equal = World(tmp_path / "equal", small_manifest())
    equal.store(np.ones_like(features))
    assert f"{BACKBONE}: the features of all" in said(equal, capsys)


def test_of_ordinary_training_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, small_manifest())
    world.store(features_of(world.frame))
    told = said(world, capsys)
    assert not any(words in told for words in ("one class", "0.000 in epoch", "columns of the features"))
