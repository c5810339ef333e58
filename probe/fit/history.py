"""What training leaves of each epoch: a line of history.jsonl.

EpochRecord.model_validate_json(line).val["mMP@5"]
"""

import json
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from probe.validation import Strict


class DomainRecord(Strict):
    """One domain's part in an epoch of single-domain batches."""

    steps: int

    loss: float | None
    """Mean over its steps; None where there were none."""


class EpochRecord(Strict):
    """An epoch and the validation after it."""

    epoch: int
    """Counted from 1."""

    samples: int
    """Images seen since the run began."""

    loss: float
    """Mean over the epoch's images, each before the update that it led to."""

    lr: float
    """The last step's learning rate."""

    parts: dict[str, float] = Field(default={})
    """Means of what the loss is the sum of; empty, and not written, where it has one part."""

    domains: dict[str, DomainRecord] = Field(default={})
    """Empty, and not written, where batches were mixed."""

    val: dict[str, float]
    """Validation metrics, each the mean over the domains."""

    def json_line(self) -> str:
        return json.dumps(self.model_dump())

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in fields(self).items() if value or name not in ("parts", "domains")}
