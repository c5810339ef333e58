"""What every loss is: a module with its options beside it, told to the registry in its own file.

@LOSSES.register
class CosFace(MarginSoftmax):
    class Config(MarginSoftmax.Config):
        kind: Literal["cosface"] = "cosface"
        margin: float = 0.35
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn

from probe.losses.core import MatmulPrecision
from probe.registry import Configurable, Kind, Registry

if TYPE_CHECKING:
    from probe.losses.margins import SizeMargins


class Loss(nn.Module, metaclass=Configurable):
    """(B, d) embeddings and (B,) int64 labels in [0, C) -> scalar.

    What changes in training is in the `state_dict`, so that a resumed training ends in the same bits; initial values
    are drawn from a generator, on its device.
    """

    weight: nn.Parameter
    """The class matrix."""

    precision: MatmulPrecision = "fp32"
    """Of the products with the class matrix."""

    class Config(Kind):
        """The options, and what is known of a loss before it is built."""

        least_classes: ClassVar[int] = 1
        """With fewer it is not defined."""

        @property
        def centers(self) -> int:
            """How many a class has, by whose cosines it is scored; 0 where the logits are no cosines."""
            return 0

        @property
        def size_margins(self) -> "SizeMargins | None":
            """What gives a class its margin where classes of different sizes have different ones."""
            return None

        def weights(self, classes: int, dim: int) -> int | None:
            """How many are trained; None where that is not known before the loss is built."""
            return None

    @classmethod
    def build(cls, config: Any, class_sizes: torch.Tensor, dim: int, generator: torch.Generator) -> Self:
        """From a configuration of its own: the constructor takes the options by their names."""
        return cls(len(class_sizes), dim, generator=generator, **config.options)

    @abstractmethod
    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor: ...

    @property
    def class_centers(self) -> torch.Tensor:
        """(C, d) of any length, where each class has one (`Config.centers` is 1)."""
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry(
    "loss",
    "probe.losses",
    Loss,
    lambda loss, config: loss.build(config, torch.ones(max(2, config.least_classes)).long(), 8, torch.Generator()),
)


def build_loss(config: Loss.Config, class_sizes: torch.Tensor, dim: int, generator: torch.Generator) -> Loss:
    """The loss with its class matrix drawn from the generator, on the generator's device.

    `class_sizes`: (C,) int64, how many training images each label 0..C-1 has.
    """
    return LOSSES.find(config.kind).build(config, class_sizes, dim, generator)
