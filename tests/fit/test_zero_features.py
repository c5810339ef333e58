"""Images whose features are all zero leave the training of the others as it is."""

import numpy as np
import pytest

from probe import heads, losses
from probe.fit import TrainedConfig, Training
from tests.conftest import quick
from tests.fit.world import BACKBONE, World, features_of, fitted


@pytest.mark.parametrize(
    "head", quick([heads.L2LinearL2.Config(dim=8), heads.Linear.Config(dim=8), heads.LinearL2.Config(dim=8)])
)
def test_training_images_without_features_do_not_stop_the_bias_from_learning(
    head: heads.TrainedHead.Config, world: World
) -> None:
    features = features_of(world.frame)
    features[np.flatnonzero((world.frame["split"] == "train").to_numpy())[::7]] = 0  # some in the first batch
    world.store(features)
    config = TrainedConfig(
        backbone=BACKBONE, head=head, loss=losses.ArcFace.Config(), training=Training(epochs=3, batch=16), seed=0
    )
    assert fitted(config, world.cached()).head.state_dict()["bias"].abs().max() > 0
