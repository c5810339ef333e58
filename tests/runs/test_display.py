"""The count from which the time left of a sweep is told."""

from pathlib import Path

import pytest

from probe import heads
from probe.fit import RunConfig
from probe.runs.run import Run
from probe.runs.sweeps import sweep
from tests.fit.world import CLASSES, IMAGES, World, features_of, linear, small_manifest, untrained

TRAINING = CLASSES["train"] * IMAGES


@pytest.mark.parametrize(
    ("configs", "jobs", "images"),
    [
        ([untrained(heads.FullDimension.Config()), linear(epochs=2)], 1, 2 * TRAINING),
        pytest.param(
            [untrained(heads.FullDimension.Config()), linear(epochs=2)], 2, 2 * TRAINING, marks=pytest.mark.slow
        ),
        ([untrained(heads.FullDimension.Config())], 1, TRAINING),
    ],
    ids=["beside a trained run", "in another process", "alone"],
)
def test_images_of_runs_in_closed_form_count_only_where_no_run_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], configs: list[RunConfig], jobs: int, images: int
) -> None:
    world = World(tmp_path, small_manifest())
    world.store(features_of(world.frame))
    cached = world.cached()
    sweep([(Run(config, cached.identity, tmp_path / "runs"), cached) for config in configs], "cpu", jobs=jobs)
    assert f"fit: {images:,}/{images:,} images in" in capsys.readouterr().err
