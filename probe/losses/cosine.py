"""What the cosine losses share: the class matrix, and cross-entropy with a margin on the label's cosine.

A loss of the family says what a margin makes of the labels' cosines:

    class CosFace(MarginSoftmax):
        def with_margin(self, cosines, labels):
            return cosines - self.margin
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, TypedDict, Unpack

import torch
from pydantic import Field, PositiveFloat, SerializerFunctionWrapHandler, model_serializer
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
    sample: float | None


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
    classes at a time, by default what stays in cache. With `sample` a step in training mode sees that share of the
    classes alone: the batch's own, and others that are drawn evenly (An et al., CVPR 2022, Partial FC).
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
        sample: float | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.sub_centers, self.scale = classes, sub_centers, scale
        self.precision, self.sample, self.generator = precision, sample, generator
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
        unit, weight = F.normalize(embeddings, dim=1), self.weight
        if self.sample is not None and self.training:
            chosen = self.draw(self.sample, labels)
            weight = weight.view(self.sub_centers, self.classes, -1).index_select(1, chosen).flatten(0, 1)
            labels = torch.searchsorted(chosen, labels)
        return class_logits(unit, weight, labels, self.sub_centers, self.scale, negatives, self.precision, self.chunk)

    def draw(self, share: float, labels: torch.Tensor) -> torch.Tensor:
        """(C',) ascending: the classes of the labels (B,), and others drawn evenly, that share of all, or B of them."""
        count = min(self.classes, max(math.ceil(share * self.classes), len(labels)))
        order = torch.rand(self.classes, generator=self.generator, device=labels.device)
        return order.index_fill_(0, labels, 2.0).topk(count).indices.sort().values

    @property
    def class_centers(self) -> torch.Tensor:
        if self.sub_centers > 1:
            raise ValueError("a class has several centres")
        return self.weight


class SampledConfig(CosineSoftmax.Config):
    """Of a loss that a share of the classes is enough for in a step."""

    sample: Annotated[float, Field(gt=0, lt=1)] | None = None
    """That share; null: all. It is written only where it is set: runs have had keys since before it was there."""

    @property
    def options(self) -> dict[str, Any]:
        return self._without_unset(super().options)

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self._without_unset(write(self))

    def _without_unset(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name != "sample" or value is not None}


class MarginSoftmax(CosineSoftmax):
    """A loss with one `margin` for all classes; what it is a margin of, and in which unit, the loss says."""

    class Config(SampledConfig):
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
