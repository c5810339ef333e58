"""What a fitted head scores and the facts that go with it: the metrics.json of a run.

scores = RunScores.model_validate_json(text)
scores.test.of("clean", "merged").mean["mMP@5"]
scores.selected_epoch                               # None in closed form
"""

from typing import Any

from pydantic import NonNegativeInt, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from probe.fit.candidates import Choice
from probe.metrics import Scores, SplitScores
from probe.validation import Strict


class LastEpoch(Strict):
    """The last epoch of a training, whether or not it was selected: merged index, clean protocol."""

    epoch: PositiveInt
    val: Scores
    test: Scores


class Start(Strict):
    """The head as it was drawn, before any step."""

    val: Scores
    """Merged index, clean protocol."""

    beaten: bool
    """Whether the selected epoch is better, by what selects it."""


class RunScores(Strict):
    """A run's scores. What a closed-form fit has not is None, and is not written."""

    test: SplitScores
    """By both protocols, in both indexes; empty of a run of images without classes."""
    dim: PositiveInt
    """Length of the embeddings."""
    training_images: NonNegativeInt
    """None for a head that is not fitted."""
    left_out: NonNegativeInt
    """Manifest rows of images that could not be decoded."""
    val: Scores | None = None
    """Of the selected epoch: merged index, clean protocol."""
    selected_epoch: PositiveInt | None = None
    last: LastEpoch | None = None
    start: Start | None = None
    """None in closed form, and in runs from before it was there."""
    parameters: dict[str, NonNegativeInt] | None = None
    """Trained weights, by what they are of: `head`, `classes`, `teachers`."""
    classes: PositiveInt | None = None
    """Of the training images."""
    shuffled: str | None = None
    """How training rows were shuffled, in words."""
    choice: Choice | None = None
    """Of a head that was chosen among several."""

    @property
    def training_did_not_help(self) -> bool:
        """Whether no epoch's validation is better than that of the head as it was drawn; False where that is not
        known."""
        return self.start is not None and not self.start.beaten

    @model_serializer(mode="wrap")
    def _without_what_there_is_none_of(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in fields(self).items() if value is not None}
