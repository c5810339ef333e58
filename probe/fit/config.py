"""One run as plain data: which features, which head, how it is trained, which seed. Checked before any work starts.

RunConfig(backbone="descriptor", head=Linear.Config(), loss=ArcFace.Config(), training=Training(), seed=0)
"""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from probe.extract.selection import Selection
from probe.heads import HeadConfig
from probe.losses import LossConfig
from probe.metrics.scores import Distance
from probe.validation import Strict

Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]  # what every generator takes
BALANCED = "balanced"

# What each choice has of its own, with its defaults.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"betas": (0.9, 0.999)},
    "adamw": {"betas": (0.9, 0.999)},
    "sgd": {"momentum": 0.9, "nesterov": False},
}
SCHEDULES: dict[str, dict[str, Any]] = {"cosine": {"lr_min": 1e-3}, "constant": {}}
SAMPLERS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "dataset-size": {"domains": None},
    "round-robin": {"domains": None},
    "balanced": {"domains": None},
    "specialist-steps": {"domains": None, "specialist_steps": None},
    "dynamic": {"domains": None, "update_every": 1000},
}
CLASSIFIERS: dict[str, dict[str, Any]] = {"joint": {}, "separate": {"inactive": "skip"}}
LENGTHS: dict[str, dict[str, Any]] = {"epochs": {"epochs": 10}, "samples": {"samples": None, "validate_every": None}}


class Training(Strict):
    """How a head is trained; the defaults are UniFEx's recipe (section 4). Documented in docs/fitting.md.

    `epochs` passes over the training images, or `samples` images in all with a validation every `validate_every`; the
    stretch between two validations is then what is called an epoch. `batch`: images a step. `weight_decay`: on the
    head and on the loss's class matrix, added to the gradient by adam and sgd (L2), taken off the weights by adamw.
    `sharpness`: the radius of sharpness-aware minimisation, with any optimiser; without it, as most runs are, it is not
    written out either, so that runs keep the keys that they had before it was there.
    `warmup_epochs`: passes over the training images, may be 0. `freeze_head_epochs`: epochs in which only the class
    matrix is trained. `select_by`: the validation metric that chooses the epoch, as the mean over the domains
    (`select_on: balanced`) or that of one domain.

    `sampler`: `uniform` mixes the domains in a batch, the others give each step one domain; `domains`: their order
    (default: sorted), `specialist_steps`: how many steps each domain gets, in proportion, `update_every`: steps between
    two looks at the losses of `dynamic`. `classifier`: one over the classes of all domains, or one for each domain, and
    then `inactive`: what the optimiser does with those whose domain the batch is not of.
    """

    epochs: PositiveInt | None = None
    samples: PositiveInt | None = None
    validate_every: PositiveInt | None = None
    batch: PositiveInt = 128
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[Decay, Decay] | None = None
    momentum: Decay | None = None
    nesterov: bool | None = None
    weight_decay: NonNegativeFloat = 1e-4
    sharpness: PositiveFloat | None = None
    lr: PositiveFloat = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    lr_min: NonNegativeFloat | None = None
    warmup_epochs: NonNegativeFloat = 1.0
    freeze_head_epochs: NonNegativeInt = 0
    select_by: Literal["mMP@5", "R@1"] = "mMP@5"
    select_on: Annotated[str, Field(min_length=1)] = BALANCED
    sampler: Literal["uniform", "dataset-size", "round-robin", "balanced", "specialist-steps", "dynamic"] = "uniform"
    domains: tuple[str, ...] | None = None
    specialist_steps: dict[str, PositiveInt] | None = None
    update_every: PositiveInt | None = None
    classifier: Literal["joint", "separate"] = "joint"
    inactive: Literal["skip", "zero-gradients"] | None = None

    @property
    def one_domain_a_step(self) -> bool:
        return self.sampler != "uniform"

    @model_serializer(mode="wrap")
    def _written_out(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in fields(self).items() if key != "sharpness" or value is not None}

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_choices(cls, given: Any) -> Any:
        """Fills in what the chosen optimiser, schedule and length have, so that what is run is what is written."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        choices = (
            (given.get("optimizer", "adam"), OPTIMIZERS),
            (given.get("schedule", "cosine"), SCHEDULES),
            (_length(given), LENGTHS),
            (given.get("sampler", "uniform"), SAMPLERS),
            (given.get("classifier", "joint"), CLASSIFIERS),
        )
        for chosen, options in choices:
            defaults = options.get(chosen, {}) if isinstance(chosen, str) else {}
            filled |= {key: value for key, value in defaults.items() if filled.get(key) is None}
        return filled

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "Training":
        _refuse_options_of_others(self, f"optimizer: {self.optimizer}", OPTIMIZERS, self.optimizer)
        _refuse_options_of_others(self, f"schedule: {self.schedule}", SCHEDULES, self.schedule)
        if self.lr_min is not None and self.lr_min > self.lr:
            raise ValueError(f"lr_min ({self.lr_min}) is above lr ({self.lr})")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _sampler_and_classifier_go_together(self) -> "Training":
        _refuse_options_of_others(self, f"sampler: {self.sampler}", SAMPLERS, self.sampler)
        _refuse_options_of_others(self, f"classifier: {self.classifier}", CLASSIFIERS, self.classifier)
        if self.classifier == "separate" and not self.one_domain_a_step:
            others = ", ".join(list(SAMPLERS)[1:])
            raise ValueError(f"`classifier: separate` needs batches of one domain; name another sampler: {others}")
        if self.sampler == "specialist-steps" and not self.specialist_steps:
            raise ValueError("`sampler: specialist-steps` needs `specialist_steps`, a number of steps for each domain")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> "Training":
        if self.samples is None:
            if self.validate_every is not None:
                raise ValueError("validate_every goes with `samples`; with `epochs` each epoch is validated")
        elif self.epochs is not None:
            raise ValueError("give `epochs` or `samples`, not both (`epochs: null` where the defaults have it)")
        elif self.validate_every is None or self.samples % self.validate_every:
            raise ValueError(f"samples ({self.samples}) needs a `validate_every` that divides it")
        return self

    @model_validator(mode="after")
    def _the_head_is_trained(self) -> "Training":
        epochs = self.epochs or (self.samples or 0) // (self.validate_every or 1)
        if self.freeze_head_epochs >= epochs:
            raise ValueError(
                f"freeze_head_epochs ({self.freeze_head_epochs}) leaves none of {epochs} epoch(s) to train the head; "
                "lower it or train longer"
            )
        return self


def _length(given: dict[str, Any]) -> str:
    return "epochs" if given.get("samples") is None else "samples"


def _refuse_options_of_others(training: Training, chosen: str, choices: dict[str, dict[str, Any]], own: str) -> None:
    others = {key for options in choices.values() for key in options} - choices[own].keys()
    for key in sorted(others):
        if getattr(training, key) is not None:
            raise ValueError(f"`{key}` means nothing with `{chosen}`; leave it out, or write `{key}: null`")


class Distillation(Strict):
    """Specialists beside the head, from which it learns (UDON; Ypsilantis et al., NeurIPS 2024). The defaults are those
    of its released code. Documented in docs/regimes.md.

    `teacher_dim`: length of the teachers' embeddings. `logit_weight`: of the divergence between the class probabilities
    of teacher and student, softmax(cos / `temperature`). `relation_weight`: of the squared difference between their
    cosines within the batch. A weight may be 0.
    """

    teacher_dim: PositiveInt = 256
    logit_weight: NonNegativeFloat = 1.0
    relation_weight: NonNegativeFloat = 1.0
    temperature: Annotated[float, Field(ge=1 / 64, allow_inf_nan=False)] = 0.1


class RunConfig(Selection):
    """The features that it reads, and a head. A trained head has a loss and a training recipe; a training-free one has
    neither. `domain`: a specialist's, which is fitted and validated on this domain alone, and scored on all of test.
    `distillation`: teachers of a trained head. `distance`: by which validation and test are searched."""

    head: HeadConfig
    loss: LossConfig | None = None
    training: Training | None = None
    domain: Annotated[str, Field(min_length=1)] | None = None
    distillation: Distillation | None = None
    distance: Distance = "cosine"
    seed: Seed = 0

    @property
    def trained(self) -> bool:
        return self.head.trained

    @model_validator(mode="after")
    def _loss_belongs_to_trained_heads(self) -> "RunConfig":
        missing = [name for name in ("loss", "training") if getattr(self, name) is None]
        if self.trained and missing:
            raise ValueError(f"head '{self.head.kind}' is trained: give it a `{'` and a `'.join(missing)}` section")
        if not self.trained and (self.loss is not None or self.training is not None):
            raise ValueError(f"head '{self.head.kind}' is not trained: leave out `loss` and `training`")
        return self

    @model_validator(mode="after")
    def _distillation_has_what_it_compares(self) -> "RunConfig":
        if self.distillation is None:
            return self
        if self.training is None or self.loss is None:
            raise ValueError(f"`distillation` is for trained heads, and head '{self.head.kind}' is not; leave it out")
        if self.training.classifier != "separate":
            others = ", ".join(list(SAMPLERS)[1:])
            raise ValueError(
                "`distillation` compares the classes of one domain a step; give `training` `classifier: separate` and "
                f"a sampler of single-domain batches ({others})"
            )
        if self.loss.centers != 1:
            raise ValueError(
                "`distillation` compares cosines with one centre a class: "
                f"loss '{self.loss.kind}' has {'several (sub_centers)' if self.loss.centers else 'none'}; "
                "take normalised-softmax or another cosine loss"
            )
        return self
