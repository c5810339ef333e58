"""CosFace, the additive cosine margin: CosFace(classes, dim, margin=0.35, scale=30.0, generator=generator)."""

from collections.abc import Callable

import torch

from probe.losses.cosine import MarginSoftmax


class CosFace(MarginSoftmax):
    """The label's logit is scale * (cos θ - margin). Wang et al., CVPR 2018, eq. 4. `margin` is a cosine."""

    def lowered(self, labels: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda cosines: cosines - self.margin
