"""ArcFace and Sub-Center ArcFace, which is the same loss with several centres a class.

Neither the loss nor its gradient leaves the finite numbers: the angle is never computed, and the square root in the
sine is kept away from 0.

    loss = ArcFace(classes=34_800, dim=64, margin=0.5, scale=30.0, sub_centers=3, generator=generator)
    loss(embeddings, labels)      # (B, 64), (B,) -> ()
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

_TINY_SINE_SQUARED = 1e-12


class ArcFace(nn.Module):
    """Mean cross-entropy of softmax(scale * cos), the label's cosine replaced by cos(θ + margin).

    Deng et al., CVPR 2019, eq. 3; with K > 1 sub-centres the class's cosine is the largest of its K (Deng et al., ECCV
    2020, eq. 2). Where θ + margin would pass π, the label's cosine is lowered by margin * sin(margin) instead, which
    keeps it monotonic (the reference code's `easy_margin=False`). `margin` in radians.

    The class matrix is (K * C, d), sub-centre-major: row k * C + c is sub-centre k of class c; it starts
    Xavier-uniform.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        margin: float,
        scale: float,
        generator: torch.Generator,
        sub_centers: int = 1,
    ) -> None:
        super().__init__()
        self.classes, self.sub_centers, self.margin, self.scale = classes, sub_centers, margin, scale
        bound = math.sqrt(6 / (dim + sub_centers * classes))
        draw = torch.rand(sub_centers * classes, dim, generator=generator, device=generator.device)
        self.weight = nn.Parameter((draw * 2 - 1) * bound)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(B, d) embeddings of any length, (B,) int64 labels in [0, C) -> scalar."""
        cosines = F.normalize(embeddings, dim=1) @ F.normalize(self.weight, dim=1).T  # (B, d) @ (d, K*C)
        cosines = cosines.view(-1, self.sub_centers, self.classes).amax(dim=1)  # (B, C)
        target = cosines.gather(1, labels[:, None])  # (B, 1)
        logits = self.scale * cosines.scatter(1, labels[:, None], self._with_margin(target))
        return F.cross_entropy(logits, labels)

    def _with_margin(self, cosine: torch.Tensor) -> torch.Tensor:
        cosine = cosine.clamp(-1, 1)
        sine = (1 - cosine.square()).clamp_min(_TINY_SINE_SQUARED).sqrt()
        shifted = cosine * math.cos(self.margin) - sine * math.sin(self.margin)  # cos(θ + m)
        past_pi = cosine <= -math.cos(self.margin)
        return torch.where(past_pi, cosine - self.margin * math.sin(self.margin), shifted)
