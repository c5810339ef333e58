"""A run is of one of two types, by its head; both are read from a mapping, and written out as one."""

from typing import Any

import pytest
from pydantic import ValidationError

from probe.fit import ClosedFormConfig, TrainedConfig, read_run_config

TRAINED: dict[str, Any] = {
    "backbone": "descriptor",
    "head": {"kind": "linear"},
    "loss": {"kind": "arcface"},
    "training": {"sampler": "balanced", "classifier": "separate"},
}
CLOSED_FORM: dict[str, Any] = {"backbone": "descriptor", "head": {"kind": "pca-whitening"}}


def test_the_head_decides_the_type() -> None:
    assert type(read_run_config(TRAINED)) is TrainedConfig
    assert type(read_run_config(CLOSED_FORM)) is ClosedFormConfig


def test_nulls_of_what_a_closed_form_has_not_are_read_as_nothing() -> None:
    before = CLOSED_FORM | {"loss": None, "training": None, "distillation": None, "domain": None}
    assert read_run_config(before) == read_run_config(CLOSED_FORM)


@pytest.mark.parametrize("given", [TRAINED, TRAINED | {"distillation": {}, "loss": {"kind": "cosface"}}, CLOSED_FORM])
def test_what_is_written_out_is_read_back_as_it_was(given: dict[str, Any]) -> None:
    config = read_run_config(given)
    for written in (config.model_dump(), config.model_dump(mode="json"), config.model_dump(exclude_none=True)):
        assert read_run_config(written) == config
    assert None not in config.model_dump(exclude_none=True).get("training", {}).values()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (CLOSED_FORM | {"head": {"kind": "linear"}}, "head 'linear' is trained: give it a `loss` and a `tr"),
        (TRAINED | {"loss": None}, "head 'linear' is trained: give it a `loss` section"),
        (CLOSED_FORM | {"loss": {"kind": "arcface"}}, "is not trained: leave out `loss` and `training`"),
        (CLOSED_FORM | {"distillation": {}}, "`distillation` is for trained heads, and head 'pca-whitening' is not"),
        (TRAINED | {"distillation": {}, "training": {}}, "give `training` `classifier: separate`"),
        (TRAINED | {"distillation": {}, "loss": {"kind": "softmax"}}, "loss 'softmax' has none"),
        (TRAINED | {"distillation": {}, "loss": {"kind": "sub-center-arcface"}}, "has several (sub_centers)"),
        (TRAINED | {"head": {"kind": "linaer"}}, "there is no head 'linaer'; did you mean 'linear'?"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        read_run_config(given)
    assert message in str(error.value)
