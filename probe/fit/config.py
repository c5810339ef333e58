"""One run as plain data: which features, which head, how it is trained, which seed. Checked before any work starts.

read_run_config({"backbone": "descriptor", "head": {"kind": "full-dimension"}})      # a ClosedFormConfig
read_run_config({"backbone": "descriptor", "head": {"kind": "linear"}, "loss": {"kind": "arcface"}, "training": {}})
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from probe.data import SPLITS
from probe.errors import UsageError
from probe.extract import Selection
from probe.fit.training import Training, single_domain_samplers
from probe.heads import HEADS, ClosedFormHead, Head, HeadConfig, TrainedHead
from probe.losses import LossConfig
from probe.search import Distance
from probe.validation import Strict

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


class _Config(Selection):
    """What every run has: the features that it reads, and a head."""

    head: HeadConfig

    domain: Annotated[str, Field(min_length=1)] | None = None
    """A specialist's: it is fitted and validated on this domain alone, and scored on all of the test split."""

    distance: Distance = "cosine"
    """By which validation and test are searched."""

    seed: Seed = 0

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that it reads: without training images where nothing is fitted, without validation where nothing is
        selected."""
        return SPLITS


class ClosedFormConfig(_Config):
    """A head that is fitted in closed form, or not at all."""

    if TYPE_CHECKING:
        head: ClosedFormHead.Config

    unscored: Literal[True] | None = None
    """Of images without classes: none of them is searched, and there are no scores."""

    @property
    def splits(self) -> tuple[str, ...]:
        if self.unscored:
            return ("train",)
        if self.head.chosen:
            return SPLITS
        return ("train", "test") if self.head.fitted else ("test",)

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

    @model_validator(mode="after")
    def _head_is_not_trained(self) -> "ClosedFormConfig":
        if self.head.trained:
            raise ValueError(f"head '{self.head.kind}' is trained: give it a `loss` and a `training` section")
        return self


class TrainedConfig(_Config):
    """A head that is trained with a loss."""

    if TYPE_CHECKING:
        head: TrainedHead.Config

    loss: LossConfig
    training: Training
    distillation: DistillationConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_loss_and_training(cls, given: Any) -> Any:
        missing = [name for name in ("loss", "training") if given.get(name) is None] if isinstance(given, dict) else []
        if missing and (config := _head_config(given)) and config.trained:
            raise ValueError(f"head '{_kind(given)}' is trained: give it a `{'` and a `'.join(missing)}` section")
        return given

    @model_validator(mode="after")
    def _head_is_trained(self) -> "TrainedConfig":
        if not self.head.trained:
            raise ValueError(f"head '{self.head.kind}' is not trained: leave out `loss` and `training`")
        return self

    @model_validator(mode="after")
    def _distillation_has_what_it_compares(self) -> "TrainedConfig":
        if self.distillation is None:
            return self
        if not self.training.classifier.per_domain:
            raise ValueError(
                "`distillation` compares the classes of one domain a step; give `training` `classifier: separate` and "
                f"a sampler of single-domain batches ({single_domain_samplers()})"
            )
        if self.loss.centers != 1:
            raise ValueError(
                "`distillation` compares cosines with one centre a class: "
                f"loss '{self.loss.kind}' has {'several (sub_centers)' if self.loss.centers else 'none'}; "
                "take normalised-softmax or another cosine loss"
            )
        return self


RunConfig = TrainedConfig | ClosedFormConfig


def is_closed_form(given: Any) -> bool:
    """Whether a configuration that is not checked yet has a head that is not trained."""
    config = _head_config(given) if isinstance(given, dict) else None
    return config is not None and not config.trained


def read_run_config(given: Any) -> RunConfig:
    """A configuration as a mapping, of either type. Raises pydantic's ValidationError."""
    return (ClosedFormConfig if is_closed_form(given) else TrainedConfig).model_validate(given)


def _kind(given: dict[str, Any]) -> Any:
    """Of the head."""
    head = given.get("head")
    return head.get("kind") if isinstance(head, dict) else getattr(head, "kind", None)


def _head_config(given: dict[str, Any]) -> type[Head.Config] | None:
    """None where there is no such head, which its validation says."""
    kind = _kind(given)
    try:
        return HEADS.find(kind).Config if isinstance(kind, str) else None
    except UsageError:
        return None
