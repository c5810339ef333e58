"""Training's options: what is not said is filled in, what means nothing is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from probe.fit.config import Training


def test_the_defaults_are_unifexs_recipe_and_all_written_out() -> None:
    assert Training().model_dump() == {
        "epochs": 10, "samples": None, "validate_every": None, "batch": 128,
        "optimizer": "adam", "betas": (0.9, 0.999), "momentum": None, "nesterov": None, "weight_decay": 1e-4,
        "lr": 1e-2, "schedule": "cosine", "lr_min": 1e-3, "warmup_epochs": 1.0, "freeze_head_epochs": 0,
        "select_by": "mMP@5", "select_on": "balanced", "sampler": "uniform", "domains": None,
        "specialist_steps": None, "update_every": None, "classifier": "joint", "inactive": None,
    }  # fmt: skip


def test_what_is_written_out_is_read_back_as_it_was() -> None:
    for training in (
        Training(),
        Training(optimizer="sgd", schedule="constant"),
        Training(samples=256, validate_every=128),
    ):
        assert Training.model_validate(training.model_dump(mode="json")) == training


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 0.9}, "`momentum` means nothing with `optimizer: adam`"),
        ({"optimizer": "sgd", "betas": [0.9, 0.99]}, "`betas` means nothing with `optimizer: sgd`"),
        ({"optimizer": "sgd", "momentum": 0, "nesterov": True}, "nesterov needs a momentum"),
        ({"schedule": "constant", "lr_min": 1e-4}, "`lr_min` means nothing with `schedule: constant`"),
        ({"lr": 1e-4}, "is above lr"),
        ({"epochs": 3, "samples": 100, "validate_every": 10}, "not both"),
        ({"samples": 100, "validate_every": 30}, "`validate_every` that divides it"),
        ({"samples": 100}, "needs a `validate_every`"),
        ({"validate_every": 30}, "goes with `samples`"),
        ({"optimizer": "adamm"}, "Input should be"),
        ({"optimizer": ["adam"]}, "Input should be"),
        ({"betas": [0.9, 1.0]}, "less than 1"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Training.model_validate(given)
    assert message in str(error.value)
