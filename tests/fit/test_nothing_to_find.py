"""A validation or test split in which nothing can be found is refused before a head is trained on the others."""

import polars as pl
import pytest

from probe.errors import UsageError
from probe.fit import FitData
from tests.fit.world import CPU, PLENTY, World, features_of, fitted, linear


def without_pairs(world: World, split: str, domain: str | None = None) -> World:
    """Each image of the split, or of one of its domains, is a class of its own."""
    chosen = (pl.col("split") == split) & (pl.col("domain") == domain if domain else True)
    frame = world.frame.with_columns(label=pl.when(chosen).then("image").otherwise("label"))
    other = World(world.folder, frame)
    other.store(features_of(world.frame))
    return other


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_with_nothing_to_find_is_refused_before_training(split: str, world: World) -> None:
    features = without_pairs(world, split).cached()
    with pytest.raises(UsageError, match=f"no query of the split '{split}' has another image of its class"):
        FitData(features, CPU, PLENTY)


def test_an_epoch_is_not_selected_on_a_domain_with_nothing_to_find(world: World) -> None:
    features = without_pairs(world, "val", "cars").cached()
    with pytest.raises(UsageError, match="no validation query of 'cars' has anything to find"):
        fitted(linear(select_on="cars"), features)
    assert len(fitted(linear(select_on="food"), features).history) == 4
