"""What the cosine losses share: the class matrix, and cross-entropy with the label's cosine changed.

CosineSoftmax itself is the normalised softmax, the member of the family that changes nothing:

    loss = CosineSoftmax(classes=34_800, dim=64, scale=16.0, generator=generator)
    loss(embeddings, labels)      # (B, 64), (B,) -> ()
"""

import math
from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
from torch import nn
from torch.nn import functional as F

from probe.losses.core import Negatives, Precision, class_logits

_TINY_SINE_SQUARED = 1e-30
_EXPONENT_OF_NO_LOSS = 40.0  # beyond it log(1 + exp(x)) is x, even in float64


class CoreOptions(TypedDict, total=False):
    """What every cosine loss takes beside its own options."""

    sub_centers: int
    precision: Precision


class CosineSoftmax(nn.Module):
    """Mean cross-entropy of softmax(scale * cos) between embeddings and class centres, both of any length.

    NormFace: Wang et al., ACM MM 2017, eq. 4. With K > 1 sub-centres a class's cosine is the largest of its K (Deng et
    al., ECCV 2020, eq. 2). `weight` is (K * C, d), sub-centre-major: row k * C + c is sub-centre k of class c; it
    starts Xavier-uniform. `chunk`: classes at a time, by default what stays in cache.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        scale: float,
        generator: torch.Generator,
        sub_centers: int = 1,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.classes, self.sub_centers, self.scale = classes, sub_centers, scale
        self.precision: Precision = precision
        self.chunk: int | None = None
        bound = math.sqrt(6 / (dim + sub_centers * classes))
        draw = torch.rand(sub_centers * classes, dim, generator=generator, device=generator.device)
        self.weight = nn.Parameter((draw * 2 - 1) * bound)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, d) embeddings, (B,) int64 labels in [0, C) -> scalar."""
        return self.cross_entropy(embeddings, labels, self.lowered(labels))

    def lowered(self, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """What becomes of the labels' cosines, (B,) -> (B,)."""
        return lambda cosines: cosines

    def cross_entropy(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        lowered: Callable[[torch.Tensor], torch.Tensor],
        negatives: Negatives | None = None,
    ) -> torch.Tensor:
        """Mean over the batch of -log softmax(label), with `lowered` for the label and `negatives` for the others."""
        cosines, others = self.class_logits(embeddings, labels, negatives)
        return F.softplus(others - self.scale * lowered(cosines), threshold=_EXPONENT_OF_NO_LOSS).mean()

    def class_logits(
        self, embeddings: torch.Tensor, labels: torch.Tensor, negatives: Negatives | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The core's: (B,) cosines of the labels, (B,) log-sum-exp of the other classes' logits."""
        unit = F.normalize(embeddings, dim=1)
        return class_logits(
            unit, self.weight, labels, self.sub_centers, self.scale, negatives, self.precision, self.chunk
        )


class MarginSoftmax(CosineSoftmax):
    """A loss with one `margin` for all classes; what it is a margin of, and in which unit, the loss says."""

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
