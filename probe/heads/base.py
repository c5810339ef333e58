"""What every head is: a module with its options beside it, told to the registry in its own file; and it on disk.

@HEADS.register
class AveragePooling(FixedHead):
    class Config(FixedHead.Config):
        kind: Literal["average-pooling"] = "average-pooling"
        dim: PositiveInt = 64
"""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, overload

import torch
from pydantic import PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError, first_line
from probe.heads.training_images import Take, TrainingImages
from probe.registry import Configurable, Kind, Registry


@dataclass(frozen=True)
class LastStep:
    """The last step of a head, which is linear and needs no label: a collection can have one of its own."""

    before: list[nn.Module]
    """(B, D) -> (B, m), what comes before it, in eval mode."""
    projection: torch.Tensor
    """(d, m) float64, on the CPU: of the head, of rows of unit length. Only directions are compared."""


class Head(nn.Module, metaclass=Configurable):
    """(B, D) float32 features -> (B, d) embeddings."""

    class Config(Kind):
        """The options, and what is known of a head before it is built."""

        trained: ClassVar[bool]
        """Whether it needs a loss and a training recipe."""

        def embedding_dim(self, in_dim: int) -> int:
            """d: the option `dim` where it has one, else D."""
            return int(self.options.get("dim", in_dim))

    @classmethod
    def build(cls, config: Any, in_dim: int, generator: torch.Generator) -> Self:
        """From a configuration of its own: the constructor takes the options by their names."""
        return cls(in_dim, generator=generator, **config.options)

    @abstractmethod
    def forward(self, features: torch.Tensor) -> torch.Tensor: ...

    def layers(self) -> list[nn.Module]:
        """What it computes in eval mode, as linear layers, normalisations and signed powers, which others load without
        probe.

        Raises UsageError for a head that says of no such layers.
        """
        raise UsageError(
            f"head '{type(self).__name__}' has no `layers()`, by which others could load it; give it one "
            "(docs/export.md)."
        )

    def last_step(self) -> LastStep:
        """Raises UsageError for a head that has none that does without labels."""
        raise UsageError(
            f"head '{type(self).__name__}' has no last step that can be fitted to a collection without labels; take "
            "discriminant."
        )


class Normalize(nn.Module):
    """(B, D) -> (B, D): rows of unit length; one of zeros stays as it is."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return F.normalize(rows, dim=1)


class SignedPower(nn.Module):
    """(B, D) -> (B, D): sign(x) |x|^exponent."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.sign() * rows.abs() ** self.exponent


def linear_layer(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """(d, D) and (d,) -> x Wᵀ + b, where no bias is one of zeros."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.detach().float(), requires_grad=False)
    given = weight.new_zeros(len(weight)) if bias is None else bias
    layer.bias = nn.Parameter(given.detach().float(), requires_grad=False)
    return layer


class TrainedHead(Head):
    """Trained with a loss. `dim`, which all have, is the length of the embeddings that are searched."""

    class Config(Head.Config):
        trained: ClassVar[bool] = True
        options_of_training: ClassVar[frozenset[str]] = frozenset()
        """Those that mean nothing once it is trained, such as dropout: weights may be averaged in spite of them."""

        dim: PositiveInt = 64

        @property
        def loss_dim(self) -> int:
            """Length of the embeddings that the loss sees."""
            return self.dim

        @property
        def averaging_obstacle(self) -> str | None:
            """Why weights of several such heads have no mean, and what to do, to come after `RUN ...`."""
            return None

    def after_epoch(self, images: int, take: Take) -> None:
        """What is to be done before each validation. `images`: how many there are to train on."""


class ClosedFormHead(Head):
    """Fitted on the training images at once, without a loss."""

    class Config(Head.Config):
        trained: ClassVar[bool] = False
        fitted: ClassVar[bool] = True
        """Whether it is made from training images."""
        chosen: ClassVar[bool] = False
        """Whether it is one of several heads, which the training classes choose."""

        @property
        def collection(self) -> str | None:
            """The data whose index images it is fitted to as well, without their labels; None for none."""
            return None

        @property
        def drawn(self) -> bool:
            """Whether anything of it is random, so that seeds differ."""
            return True

    @abstractmethod
    def fit(self, images: TrainingImages) -> Self:
        """Fits this head, on its device; itself."""


class FixedHead(ClosedFormHead):
    """There is nothing to fit."""

    class Config(ClosedFormHead.Config):
        fitted: ClassVar[bool] = False

    def fit(self, images: TrainingImages) -> Self:
        return self


HEADS: Registry[type[Head]] = Registry(
    "head", "probe.heads", Head, lambda head, config: head.build(config, 1024, torch.Generator())
)


@overload
def build_head(config: TrainedHead.Config, in_dim: int, generator: torch.Generator) -> TrainedHead: ...
@overload
def build_head(config: ClosedFormHead.Config, in_dim: int, generator: torch.Generator) -> ClosedFormHead: ...
@overload
def build_head(config: Head.Config, in_dim: int, generator: torch.Generator) -> Head: ...
def build_head(config: Head.Config, in_dim: int, generator: torch.Generator) -> Head:
    """The head before it is trained or fitted; random initial values come from the generator, on its device."""
    return HEADS.find(config.kind).build(config, in_dim, generator)


def save_head(head: nn.Module, path: Path) -> None:
    """Parameters and buffers as safetensors."""
    state = {key: value.detach().cpu().contiguous() for key, value in head.state_dict().items()}
    save_file(state, path)


def load_head(config: Head.Config, path: Path, in_dim: int, device: torch.device) -> Head:
    """A head that `save_head` wrote, in eval mode. Raises UsageError when the file is damaged or another head's."""
    head = build_head(config, in_dim, torch.Generator(device))
    try:
        head.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise UsageError(f"{path} is not the head of this run ({first_line(error)}); fit it again.") from error
    return head.to(device).eval()
