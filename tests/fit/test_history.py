"""An epoch's record is one line of JSON, whose keys and bytes stay as they were."""

import json

import pytest
from pydantic import ValidationError

from probe.fit import DomainRecord, EpochRecord

PLAIN = EpochRecord(epoch=1, samples=240, loss=2.5, lr=0.01, val={"mMP@5": 0.1 + 0.2, "R@1": 1.0})
LINE = '{"epoch": 1, "samples": 240, "loss": 2.5, "lr": 0.01, "val": {"mMP@5": 0.30000000000000004, "R@1": 1.0}}'


def test_what_is_empty_is_not_written() -> None:
    assert PLAIN.json_line() == LINE


def test_parts_and_domains_stand_before_the_validation() -> None:
    domains = {"cars": DomainRecord(steps=2, loss=4.5), "food": DomainRecord(steps=0, loss=None)}
    line = PLAIN.model_copy(update={"parts": {"teacher": 3.0}, "domains": domains}).json_line()
    assert list(json.loads(line)) == ["epoch", "samples", "loss", "lr", "parts", "domains", "val"]
    assert '"domains": {"cars": {"steps": 2, "loss": 4.5}, "food": {"steps": 0, "loss": null}}' in line
    assert EpochRecord.model_validate_json(line).json_line() == line


@pytest.mark.parametrize("line", ["{}", LINE.replace("loss", "lost"), LINE.replace("2.5", "NaN")])
def test_a_line_of_another_shape_is_no_record(line: str) -> None:
    with pytest.raises(ValidationError):
        EpochRecord.model_validate_json(line)
