"""CosFace, the additive cosine margin: CosFace(classes, dim, margin=0.35, scale=30.0, generator=generator)."""

from collections.abc import Callable
from typing import Unpack

import torch

from probe.losses.cosine import CoreOptions, CosineSoftmax


class CosFace(CosineSoftmax):
    """The label's logit is scale * (cos θ - margin). Wang et al., CVPR 2018, eq. 4. `margin` is a cosine."""

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

    def lowered(self, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda cosines: cosines - self.margin
