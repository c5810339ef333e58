"""What the cosine losses share: the class matrix, and cross-entropy with a margin on the label's cosine.

A loss of the family says what a margin makes of the labels' cosines:

    class CosFace(MarginSoftmax):
        def with_margin(self, cosines, labels):
            return cosines - self.margin
"""

from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
from pydantic import PositiveFloat
from torch import nn
from torch.nn import functional as F

from probe.losses.base import Loss
from probe.losses.core import MatmulPrecision, Negatives, class_logits
from probe.losses.initialization import ClassInit, class_matrix
from probe.losses.margins import Radians
from probe.validation import Strict

_TINY_SINE_SQUARED = 1e-30
_EXPONENT_OF_NO_LOSS = 40.0  # beyond it log(1 + exp(x)) is x, even in float64


class CoreOptions(TypedDict, total=False):
    """What every cosine loss takes beside its own options."""

    sub_centers: int
    precision: MatmulPrecision
    init: ClassInit


class _ClassMatrix(Strict):
    """Stands before `kind` where a configuration is written out."""

    precision: MatmulPrecision = "fp32"
    """Of the products with the class matrix; bf16 is faster where the processor has it."""

    init: ClassInit = "xavier"
    """Where the class matrix starts."""


class CosineSoftmax(Loss):
    """Mean cross-entropy of softmax(scale * cos) between embeddings and class centres, both of any length.

    With K > 1 sub-centres a class's cosine is the largest of its K (Deng et al., ECCV 2020, eq. 2). `weight` is
    (K * C, d), sub-centre-major: row k * C + c is sub-centre k of class c; `init` says where it starts. `chunk`:
    classes at a time, by default what stays in cache.
    """

    class Config(Loss.Config, _ClassMatrix):
        """With `sub_centers` among its options, a loss has so many centres a class."""

        @property
        def centers(self) -> int:
            return int(self.options.get("sub_centers", 1))

        def weights(self, classes: int, dim: int) -> int | None:
            return classes * self.centers * dim

    def __init__(
        self,
        classes: int,
        dim: int,
        scale: float,
        generator: torch.Generator,
        sub_centers: int = 1,
        precision: MatmulPrecision = "fp32",
        init: ClassInit = "xavier",
    ) -> None:
        super().__init__()
        self.classes, self.sub_centers, self.scale = classes, sub_centers, scale
        self.precision = precision
        self.chunk: int | None = None
        self.weight = nn.Parameter(class_matrix(init, sub_centers * classes, dim, generator))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.cross_entropy(embeddings, labels, lambda cosines: self.with_margin(cosines, labels))

    def with_margin(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B,) cosines of the labels -> (B,) what is scaled to their logits in place of them; here the same."""
        return cosines

    def cross_entropy(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        target: Callable[[torch.Tensor], torch.Tensor],
        negatives: Negatives | None = None,
    ) -> torch.Tensor:
        """Mean over the batch of -log softmax(label). `target`: what is scaled to the labels' logits, of their cosines,
        (B,); `negatives`: the same of the others."""
        cosines, others = self.class_logits(embeddings, labels, negatives)
        return F.softplus(others - self.scale * target(cosines), threshold=_EXPONENT_OF_NO_LOSS).mean()

    def class_logits(
        self, embeddings: torch.Tensor, labels: torch.Tensor, negatives: Negatives | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The core's: (B,) cosines of the labels, (B,) log-sum-exp of the other classes' logits."""
        unit = F.normalize(embeddings, dim=1)
        return class_logits(
            unit, self.weight, labels, self.sub_centers, self.scale, negatives, self.precision, self.chunk
        )

    @property
    def class_centers(self) -> torch.Tensor:
        if self.sub_centers > 1:
            raise ValueError("a class has several centres")
        return self.weight


class MarginSoftmax(CosineSoftmax):
    """A loss with one `margin` for all classes; what it is a margin of, and in which unit, the loss says."""

    class Config(CosineSoftmax.Config):
        margin: Radians = 0.5
        scale: PositiveFloat = 30.0

    def __init__(
        self,
        classes: int,
        dim: int,
        margin: float,
        scale: float,
        generator: torch.Generator,
        **core: Unpack[CoreOptions],
    ) -> None:
        super().__init__(classes, dim, scale, generator, **core)
        self.margin = margin


def sine(cosines: torch.Tensor) -> torch.Tensor:
    """Of angles in [0, π]; at cosines of exactly ±1 its gradient is 0 and not infinite."""
    return (1 - cosines.square()).clamp_min(_TINY_SINE_SQUARED).sqrt()
