"""A sampler of the user's own: named in a recipe, its options checked from their annotations, and trained with."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from probe.extract.features import CachedFeatures
from probe.fit import Training
from tests.fit.world import fitted, linear

SOURCE = '''
from collections.abc import Mapping
import numpy as np
from probe.fit import SingleDomainSampler

class Pairs(SingleDomainSampler):
    """Each domain so many times, one after the other."""

    class Config(SingleDomainSampler.Config):
        repeat: int = 2

    @staticmethod
    def schedule(config: Config, sizes: Mapping[str, int], steps: int) -> np.ndarray:
        return np.arange(steps) // config.repeat % len(sizes)
'''
OWN = "pairs_of_steps:Pairs"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs_of_steps.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "pairs_of_steps", raising=False)


def test_its_options_stand_beside_its_name_and_are_written_out() -> None:
    training = Training(sampler=OWN, repeat=3, domains=["food", "cars"], classifier="separate")
    written = training.model_dump(mode="json")
    assert (written["sampler"], written["repeat"], written["domains"]) == (OWN, 3, ["food", "cars"])
    assert Training.model_validate(written) == training
    assert Training(sampler=OWN, repeat=None) == Training(sampler=OWN, repeat=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat": "often"}, "repeat\n  Input should be a valid integer"),
        ({"repaet": 3}, "repaet\n  Extra inputs are not permitted"),
        ({"update_every": 5}, f"`update_every` means nothing with `sampler: {OWN}`"),
        ({"sampler": "pairs_of_steps:Triples"}, "sampler 'pairs_of_steps:Triples' cannot be loaded"),
    ],
)
def test_options_that_it_does_not_have_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Training(**{"sampler": OWN, **options})
    assert message in str(error.value)


def test_it_trains(cached: CachedFeatures) -> None:
    run = fitted(linear(epochs=1, sampler=OWN, repeat=4), cached)
    assert {name: of.steps for name, of in run.history[0].domains.items()} == {"cars": 8, "food": 7}
