"""A sampler, a schedule and an optimizer of the user's own, as docs/fitting.md writes them: named in a recipe, their
options checked from their annotations, and trained with."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from probe.extract.features import CachedFeatures
from probe.fit import Training, TrainingPlan
from tests.documents import ROOT
from tests.fit.world import fitted, linear

PAGE = (ROOT / "docs" / "fitting.md").read_text()
[CODE] = re.findall(r"```python\n(# my_training.py\n.*?)```", PAGE, flags=re.DOTALL)
OWN: dict[str, Any] = yaml.safe_load(
    re.findall(r"```yaml\n(training:\n.*?my_training.*?)```", PAGE, flags=re.DOTALL)[0]
)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_training", raising=False)


def test_options_stand_beside_the_names_and_are_written_out() -> None:
    training = Training(**OWN["training"], domains=["food", "cars"], classifier="separate")
    written = training.model_dump(mode="json")
    assert written.items() >= {"turn": 4, "lr_end": 0.0, "alpha": 0.9, "domains": ["food", "cars"]}.items()
    assert Training.model_validate(written) == training
    assert Training(sampler="my_training:InTurns", turn=None) == Training(sampler="my_training:InTurns", turn=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"turn": "often"}, "turn\n  Input should be a valid integer"),
        ({"turm": 3}, "turm\n  Extra inputs are not permitted"),
        ({"update_every": 5}, "`update_every` means nothing with `sampler: my_training:InTurns`"),
        ({"lr_min": 0.1}, "`lr_min` means nothing with `schedule: my_training:LinearDecay`"),
        ({"betas": [0.9, 0.9]}, "`betas` means nothing with `optimizer: my_training:RMSprop`"),
        ({"sampler": "my_training:Triples", "turn": None}, "sampler 'my_training:Triples' cannot be loaded"),
        ({"sampler": "my_training:RMSprop", "turn": None}, "sampler 'my_training:RMSprop' is no Sampler"),
    ],
)
def test_what_they_do_not_have_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Training(**OWN["training"] | changes)
    assert message in str(error.value)


def test_a_run_is_trained_with_them(cached: CachedFeatures) -> None:
    config = linear(**OWN["training"] | {"lr": 0.01, "warmup_epochs": 0})
    run = fitted(config, cached)
    assert {name: of.steps for name, of in run.history[0].domains.items()} == {"cars": 8, "food": 7}
    plan = TrainingPlan(config.training, 240)
    assert [record.lr for record in run.history] == pytest.approx(0.01 * (1 - np.array([14, 29, 44]) / plan.steps))
    assert run.history[2].loss < run.history[0].loss
