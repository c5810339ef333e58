"""One run as plain data: which features, which head, how it is trained, which seed. Checked before any work starts.

read_run_config({"backbone": "descriptor", "head": {"kind": "full-dimension"}})      # a ClosedFormConfig
read_run_config({"backbone": "descriptor", "head": {"kind": "linear"}, "loss": {"kind": "arcface"}, "training": {}})
"""

from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from probe.extract import Selection
from probe.fit.training import Separate, Training, single_domain_samplers
from probe.heads.config import TRAINED, HeadConfig
from probe.losses.config import LossConfig
from probe.search import Distance
from probe.validation import Strict, models_in

Seed = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]  # what every generator takes
OF_TRAINED_HEADS = ("loss", "training", "distillation")


class DistillationConfig(Strict):
    """Specialists beside the head, from which it learns (UDON; Ypsilantis et al., NeurIPS 2024). The defaults are those
    of its released code. Documented in docs/regimes.md."""

    teacher_dim: PositiveInt = 256
    """Length of the teachers' embeddings."""

    logit_weight: NonNegativeFloat = 1.0
    """Of the divergence between the class probabilities of teacher and student, softmax(cos / temperature)."""

    relation_weight: NonNegativeFloat = 1.0
    """Of the squared difference between their cosines within the batch."""

    temperature: Annotated[float, Field(ge=1 / 64, allow_inf_nan=False)] = 0.1


class RunConfig(Selection):
    """What every run has: the features that it reads, and a head."""

    head: HeadConfig

    domain: Annotated[str, Field(min_length=1)] | None = None
    """A specialist's: it is fitted and validated on this domain alone, and scored on all of the test split."""

    distance: Distance = "cosine"
    """By which validation and test are searched."""

    seed: Seed = 0


class ClosedFormConfig(RunConfig):
    """A head that is fitted in closed form, or not at all."""

    @model_validator(mode="before")
    @classmethod
    def _has_nothing_of_trained_heads(cls, given: Any) -> Any:
        """Null is nothing: so it was written out before there were two types of runs."""
        if not isinstance(given, dict):
            return given
        kind = _kind(given)
        if given.get("loss") is not None or given.get("training") is not None:
            raise ValueError(f"head '{kind}' is not trained: leave out `loss` and `training`")
        if given.get("distillation") is not None:
            raise ValueError(f"`distillation` is for trained heads, and head '{kind}' is not; leave it out")
        return {key: value for key, value in given.items() if key not in OF_TRAINED_HEADS}


class TrainedConfig(RunConfig):
    """A head that is trained with a loss."""

    loss: LossConfig
    training: Training
    distillation: DistillationConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_loss_and_training(cls, given: Any) -> Any:
        missing = [name for name in ("loss", "training") if given.get(name) is None] if isinstance(given, dict) else []
        if missing and _kind(given) in TRAINED_KINDS:
            raise ValueError(f"head '{_kind(given)}' is trained: give it a `{'` and a `'.join(missing)}` section")
        return given

    @model_validator(mode="after")
    def _distillation_has_what_it_compares(self) -> "TrainedConfig":
        if self.distillation is None:
            return self
        if not isinstance(self.training.classifier, Separate):
            raise ValueError(
                "`distillation` compares the classes of one domain a step; give `training` `classifier: separate` and "
                f"a sampler of single-domain batches ({single_domain_samplers()})"
            )
        if self.loss.kind == "softmax" or getattr(self.loss, "sub_centers", 1) > 1:
            raise ValueError(
                "`distillation` compares cosines with one centre a class: "
                f"loss '{self.loss.kind}' has {'none' if self.loss.kind == 'softmax' else 'several (sub_centers)'}; "
                "take normalised-softmax or another cosine loss"
            )
        return self


TRAINED_KINDS = {head.model_fields["kind"].default for head in TRAINED}
CLOSED_FORM_KINDS = {head.model_fields["kind"].default for head in models_in(HeadConfig)} - TRAINED_KINDS


def _kind(given: dict[str, Any]) -> Any:
    """Of the head."""
    head = given.get("head")
    return head.get("kind") if isinstance(head, dict) else getattr(head, "kind", None)


def is_closed_form(given: Any) -> bool:
    """Whether a configuration that is not checked yet has a head that is not trained."""
    return isinstance(given, dict) and _kind(given) in CLOSED_FORM_KINDS


def read_run_config(given: Any) -> TrainedConfig | ClosedFormConfig:
    """A configuration as a mapping, of either type. Raises pydantic's ValidationError."""
    return (ClosedFormConfig if is_closed_form(given) else TrainedConfig).model_validate(given)
