"""Recipes of one command share what they read of the disk."""

import pytest

from probe.data.dataset import MissingDataError
from probe.planning.inputs import Inputs
from probe.planning.inventory import Inventory
from tests.report.world import World


def test_two_recipes_read_data_and_features_once(world: World):
    world.write_store()
    inputs = Inputs(world.workspace)
    first, second = (Inventory(world.recipe, world.workspace, inputs) for _ in range(2))
    assert first.manifest is second.manifest
    assert list(first.features) == list(second.features) == ["descriptor, test alone"]
    assert first.features["descriptor, test alone"] is second.features["descriptor, test alone"]


def test_what_is_not_there_is_looked_for_again(world: World):
    inputs = Inputs(world.workspace)
    with pytest.raises(MissingDataError):
        inputs.data("absent")
    folder = world.workspace.data_root
    (folder / "small").rename(folder / "absent")
    assert inputs.data("absent").domains == ["birds", "cars"]
