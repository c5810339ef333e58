"""One run as plain data: which features, which head, how it is trained, which seed. Checked before any work starts.

RunConfig(backbone="descriptor", head=heads.Linear(), loss=losses.ArcFace(), training=Training(), seed=0)
"""

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from probe.extract.selection import Selection
from probe.heads.config import TRAINED, HeadConfig
from probe.losses.config import LossConfig
from probe.validation import Strict


class Training(Strict):
    """UniFEx's recipe (section 4): Adam with coupled L2, per-step linear warm-up, cosine to `lr_min`.

    `batch`: images a step. `warmup_epochs`: may be 0. `weight_decay`: on the head and on the loss's class matrix.
    """

    epochs: PositiveInt = 10
    batch: PositiveInt = 128
    lr: PositiveFloat = 1e-2
    lr_min: NonNegativeFloat = 1e-3
    warmup_epochs: NonNegativeFloat = 1.0
    weight_decay: NonNegativeFloat = 1e-4

    @model_validator(mode="after")
    def _cosine_falls(self) -> "Training":
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min ({self.lr_min}) is above lr ({self.lr})")
        return self


class RunConfig(Selection):
    """The features that it reads, and a head. A trained head has a loss and a training recipe; a training-free one has
    neither."""

    head: HeadConfig
    loss: LossConfig | None = None
    training: Training | None = None
    seed: NonNegativeInt = 0

    @property
    def trained(self) -> bool:
        return isinstance(self.head, TRAINED)

    @model_validator(mode="after")
    def _loss_belongs_to_trained_heads(self) -> "RunConfig":
        missing = [name for name in ("loss", "training") if getattr(self, name) is None]
        if self.trained and missing:
            raise ValueError(f"head '{self.head.kind}' is trained: give it a `{'` and a `'.join(missing)}` section")
        if not self.trained and (self.loss is not None or self.training is not None):
            raise ValueError(f"head '{self.head.kind}' is not trained: leave out `loss` and `training`")
        return self
