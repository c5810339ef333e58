"""How a head is trained, as plain data, checked before any work starts. Documented in docs/fitting.md.

Training.model_validate({"sampler": "round-robin", "optimizer": "sgd", "epochs": 3})     # flat, as in a recipe
Training(...).sampler.kind, Training(...).length.count
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from probe.fit.choices import Choice, FlatChoices
from probe.fit.optimizers import OPTIMIZERS
from probe.fit.samplers import SAMPLERS, Sampler
from probe.fit.schedules import SCHEDULES, Schedule
from probe.registry import Kind

BALANCED = "balanced"
VAL_SHARE = 0.1

if TYPE_CHECKING:
    OptimizerConfig = Kind
    ScheduleConfig = Schedule.Config
    SamplerConfig = Sampler.Config
else:
    OptimizerConfig = OPTIMIZERS.union()
    ScheduleConfig = SCHEDULES.union()
    SamplerConfig = SAMPLERS.union()


class Epochs(Kind):
    """Passes over the training images."""

    kind: Literal["epochs"] = "epochs"
    epochs: PositiveInt = 10

    @property
    def count(self) -> int:
        return self.epochs

    def epoch_images(self, images: int) -> int:
        """Of an epoch, with so many training images."""
        return images


class Samples(Kind):
    """So many images in all; what is between two validations is then called an epoch."""

    kind: Literal["samples"] = "samples"
    samples: PositiveInt
    validate_every: PositiveInt

    @model_validator(mode="before")
    @classmethod
    def _is_validated(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("validate_every") is None:
            raise ValueError(f"samples ({given.get('samples')}) needs a `validate_every` that divides it")
        return given

    @model_validator(mode="after")
    def _is_validated_last(self) -> "Samples":
        if self.samples % self.validate_every:
            raise ValueError(f"samples ({self.samples}) needs a `validate_every` that divides it")
        return self

    @property
    def count(self) -> int:
        """Of epochs."""
        return self.samples // self.validate_every

    def epoch_images(self, images: int) -> int:
        return self.validate_every


class Joint(Kind):
    """One classifier over the classes of all domains."""

    per_domain: ClassVar[bool] = False
    moves_inactive: ClassVar[bool] = False

    kind: Literal["joint"] = "joint"


class Separate(Kind):
    """A classifier for each domain, which sees the batches of this domain."""

    per_domain: ClassVar[bool] = True

    kind: Literal["separate"] = "separate"

    inactive: Literal["skip", "zero-gradients"] = "skip"
    """What the optimizer does with the classifiers whose domain the batch is not of."""

    @property
    def moves_inactive(self) -> bool:
        """Whether these move too, by their momentum and decay."""
        return self.inactive == "zero-gradients"


class Training(FlatChoices):
    """The defaults are UniFEx's recipe (section 4). Choices and their options are written flat."""

    choices: ClassVar[Mapping[str, Choice]] = {
        "length": Choice((Epochs, Samples), "epochs"),
        "optimizer": Choice(OPTIMIZERS, "adam"),
        "schedule": Choice(SCHEDULES, "cosine"),
        "sampler": Choice(SAMPLERS, "uniform"),
        "classifier": Choice((Joint, Separate), "joint"),
    }
    implied: ClassVar[frozenset[str]] = frozenset({"length"})
    sparse: ClassVar[frozenset[str]] = frozenset({"sharpness", "val"})  # runs have had keys since before it was there

    length: Annotated[Epochs | Samples, Field(discriminator="kind")]
    """`epochs`, or `samples` with `validate_every`."""

    batch: PositiveInt = 128
    """Images a step."""

    optimizer: OptimizerConfig

    weight_decay: NonNegativeFloat = 1e-4
    """On the head and on the loss's class matrix."""

    sharpness: PositiveFloat | None = None
    """The radius of sharpness-aware minimization, with any optimizer."""

    lr: PositiveFloat = 1e-2
    """The highest learning rate."""

    schedule: ScheduleConfig

    warmup_epochs: NonNegativeFloat = 1.0
    """Passes over the training images, with any length."""

    freeze_head_epochs: NonNegativeInt = 0
    """Epochs at the start in which only the class matrix is trained."""

    select_by: Literal["mMP@5", "R@1"] = "mMP@5"
    """The validation metric that selects the epoch."""

    select_on: Annotated[str, Field(min_length=1)] = BALANCED
    """The domain whose validation metric it is, or the mean over the domains."""

    val: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of the training classes that are drawn for validation and train nothing, in place of the data's own
    validation split. Null: the data's own, and where they have none, a tenth (VAL_SHARE)."""

    val_seed: NonNegativeInt = 0
    """Which classes are drawn: the same for all seeds of a row."""

    sampler: SamplerConfig
    classifier: Annotated[Joint | Separate, Field(discriminator="kind")]

    if TYPE_CHECKING:

        def __init__(self, **written: Any) -> None: ...

    @classmethod
    def chosen(cls, choice: str, given: Mapping[str, Any]) -> Any:
        if choice == "length":
            return "epochs" if given.get("samples") is None else "samples"
        return super().chosen(choice, given)

    @classmethod
    def stray(cls, choice: str, kind: str, option: str) -> str:
        if choice != "length":
            return super().stray(choice, kind, option)
        if option == "epochs":
            return "give `epochs` or `samples`, not both (`epochs: null` where the defaults have it)"
        return f"{option} goes with `samples`; with `epochs` each epoch is validated"

    @model_validator(mode="after")
    def _rates_are_in_order(self) -> "Training":
        self.schedule.require_below(self.lr)
        return self

    @model_validator(mode="after")
    def _separate_classifiers_have_their_batches(self) -> "Training":
        if self.classifier.per_domain and not self.sampler.single_domain:
            raise ValueError(
                f"`classifier: separate` needs batches of one domain; name another sampler: {single_domain_samplers()}"
            )
        return self

    @model_validator(mode="after")
    def _the_head_is_trained(self) -> "Training":
        if self.freeze_head_epochs >= self.length.count:
            raise ValueError(
                f"freeze_head_epochs ({self.freeze_head_epochs}) leaves none of {self.length.count} epoch(s) to train "
                "the head; lower it or train longer"
            )
        return self


def single_domain_samplers() -> str:
    """The samplers whose batches are of one domain, as text."""
    return ", ".join(kind for kind, sampler in SAMPLERS.kinds.items() if sampler.Config.single_domain)
