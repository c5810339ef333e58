"""Training's options: what is not said is filled in, what means nothing is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from probe.fit import Training


def test_the_defaults_are_unifexs_recipe_and_all_written_out() -> None:
    assert Training().model_dump() == {
        "epochs": 10, "samples": None, "validate_every": None, "batch": 128,
        "optimizer": "adam", "betas": (0.9, 0.999), "momentum": None, "nesterov": None, "weight_decay": 1e-4,
        "lr": 1e-2, "schedule": "cosine", "lr_min": 1e-3, "warmup_epochs": 1.0, "freeze_head_epochs": 0,
        "select_by": "mMP@5", "select_on": "balanced", "val_seed": 0, "sampler": "uniform", "domains": None,
        "specialist_steps": None, "update_every": None, "classifier": "joint", "inactive": None,
    }  # fmt: skip


def test_what_is_written_out_is_read_back_as_it_was() -> None:
    for training in (
        Training(),
        Training(optimizer="sgd", schedule="constant"),
        Training(samples=256, validate_every=128),
        Training(sampler="specialist-steps", specialist_steps={"cars": 2}, classifier="separate"),
        Training(sampler="dynamic", domains=("b", "a")),
    ):
        assert Training.model_validate(training.model_dump(mode="json")) == training


def test_what_a_sampler_and_a_classifier_have_of_their_own_is_written_out() -> None:
    assert Training(sampler="dynamic").model_dump()["update_every"] == 1000
    assert Training(sampler="balanced", classifier="separate").model_dump()["inactive"] == "skip"


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
        ({"epochs": 2, "freeze_head_epochs": 2}, "(2) leaves none of 2 epoch(s) to train the head"),
        ({"samples": 100, "validate_every": 50, "freeze_head_epochs": 3}, "leaves none of 2 epoch(s)"),
        ({"samples": 100}, "needs a `validate_every`"),
        ({"validate_every": 30}, "goes with `samples`"),
        ({"domains": ["a"]}, "`domains` means nothing with `sampler: uniform`"),
        ({"sampler": "balanced", "update_every": 9}, "`update_every` means nothing with `sampler: balanced`"),
        ({"specialist_steps": {"a": 1}}, "`specialist_steps` means nothing with `sampler: uniform`"),
        ({"sampler": "specialist-steps"}, "needs `specialist_steps`"),
        ({"sampler": "specialist-steps", "specialist_steps": {"a": 0}}, "greater than 0"),
        ({"inactive": "skip"}, "`inactive` means nothing with `classifier: joint`"),
        ({"classifier": "separate"}, "needs batches of one domain; name another sampler: balanced, dataset-size"),
        ({"sampler": "dataset_size"}, "there is no sampler 'dataset_size'; did you mean 'dataset-size'?"),
        ({"optimizer": "adamm"}, "there is no optimizer 'adamm'; did you mean 'adam'?"),
        ({"optimizer": ["adam"]}, "there is no optimizer '['adam']'; did you mean 'adam'?"),
        ({"classifier": "seperate"}, "there is no classifier 'seperate'; did you mean 'separate'?"),
        ({"betas": [0.9, 1.0]}, "less than 1"),
    ],
)
def test_what_means_nothing_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        Training.model_validate(given)
    assert message in str(error.value)
