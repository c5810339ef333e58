"""AdaCos: softmax of cosines whose scale needs no tuning.

AdaCos(classes, dim, dynamic=True, generator=generator)
"""

import math
from typing import ClassVar, Literal

import torch

from probe.errors import ProbeError
from probe.losses.base import LOSSES
from probe.losses.core import MatmulPrecision
from probe.losses.cosine import CosineSoftmax
from probe.losses.initialization import ClassInit

_RANGE = 4.0


@LOSSES.register
class AdaCos(CosineSoftmax):
    """Mean cross-entropy of softmax(s * cos), no margin. Zhang et al., CVPR 2019.

    Fixed: s = sqrt(2) ln(C - 1) (eq. 12). Dynamic: from there, in training mode, each batch first sets
    s = ln(B) / cos(min(π/4, median θ of the labels)), where B is the mean over the batch of the sum over the other
    classes of exp(s_before * cos) (eq. 15), and the median of an even number the lower one, as torch.median has it.
    The scale has no gradient and is saved with the state. Cosines that collapse would drive it to 0 or without end, so
    it stays within 4 times the fixed scale and a quarter of it.
    """

    class Config(CosineSoftmax.Config):
        least_classes: ClassVar[int] = 3

        kind: Literal["adacos"] = "adacos"
        dynamic: bool = True

    dynamic_scale: torch.Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        dynamic: bool,
        generator: torch.Generator,
        precision: MatmulPrecision = "fp32",
        init: ClassInit = "xavier",
    ) -> None:
        if classes < (least := self.Config.least_classes):
            raise ProbeError(f"AdaCos' scale needs at least {least} classes, and there are {classes}.")
        self.fixed = math.sqrt(2) * math.log(classes - 1)
        super().__init__(classes, dim, self.fixed, generator, precision=precision, init=init)
        self.dynamic = dynamic
        self.register_buffer("dynamic_scale", torch.tensor(self.fixed, dtype=torch.float64, device=generator.device))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.dynamic:
            self.scale = float(self.dynamic_scale)
            if self.training:
                self._adapt(embeddings, labels)
        return super().forward(embeddings, labels)

    @torch.no_grad()
    def _adapt(self, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        cosines, others = self.class_logits(embeddings, labels)
        log_mean = float(others.double().logsumexp(0)) - math.log(len(labels))
        median = -float((-cosines).median())  # the cosine of torch.median(θ)
        cosine = max(math.cos(math.pi / 4), min(median, 1.0))  # of min(π/4, θ)
        self.scale = min(max(log_mean / cosine, self.fixed / _RANGE), self.fixed * _RANGE)
        self.dynamic_scale.fill_(self.scale)
